"""The state machine: what happens to a few rows, drawn by Hypothesis, beside a model of it.

``rows`` has the model of a row, ``machine`` what workers and messages do, ``outside`` what
operators and time do. ``durable_rows`` and ``durable`` are the same for rows with a memory.
"""
