"""Finds lost rows, and makes them run again.

- ``auto_reset``: rows whose lease is over become READY, and are published
- ``schedule``, ``overdue``: beat's entry, and the worker that runs a reset where none came
- ``backlog``: READY rows that only wait in a long queue
- ``lost_runs``: rows whose runs are lost again and again are given up
- ``board``, ``keeper``: notes of what each process runs, and what is done for a dead one
- ``threads``: threads that look after something for as long as a worker lives
- ``hints``: what processes tell each other by the project's cache
"""
