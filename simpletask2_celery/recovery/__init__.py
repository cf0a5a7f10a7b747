"""Finds lost rows, and makes them run again; deletes old ones.

- ``auto_reset``: rows whose lease is over become READY, and are published
- ``schedule``, ``overdue``: beat's entries, and the worker that runs a reset where none came
- ``pruning``: DONE rows that are old are deleted, for beat's entry and for the command
- ``backlog``: READY rows that only wait in a long queue
- ``lost_runs``: rows whose runs are lost again and again are given up
- ``board``, ``keeper``: notes of what each process runs, and what is done for a dead one
- ``threads``: threads that look after something for as long as a worker lives
- ``hints``: what processes tell each other by the project's cache
- ``requests_out``: when requests went to egress workers and came back, by these hints
"""
