"""What is going on: counts, rates, times, queues and workers, read within limits.

- ``figures``: everything that dashboard, status command and metrics show
- ``limits``: reads that the database stops when they take too long
- ``time_ranges``: the rows of a time, found without an index on it
"""
