"""What is going on: counts, rates, times, queues and workers, read within limits.

- ``figures``: everything that dashboard, status command, metrics and health show
- ``counts``: the rows of a table that are not DONE, by channel, and those that are
- ``kinds``: the rows of function tasks, by function
- ``queues``: the queues that rows wait in, and how many workers serve each
- ``egress``: whether egress workers serve the queues of proxy requests
- ``history``: what has ended lately: rows by minute, percentiles of their times
- ``limits``: reads that the database stops when they take too long
- ``time_ranges``: the rows added in a period, found without an index on ``add_time``
"""
