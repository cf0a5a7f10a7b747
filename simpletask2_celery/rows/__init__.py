"""A row, and what may be written to it: the only room that writes a state column.

- ``model``: ``Row``, the columns, the timeouts, and the save that knows the fence
- ``states``: what each transition writes, as pure functions
- ``claiming``: who gets a row: claims, reservations, steps that come over HTTP
- ``memory``, ``due``: what a durable row remembers, and when it may run
- ``transitions``: the writes of a run, and the ends that come from outside of it
- ``resetting``, ``rescheduling``: rows reset a page at a time; a save that changes ``run_after``
- ``fence``, ``seen``, ``values``: what a save may write, inside a run and outside of one
- ``store``: the statements, by the ORM or by a shortcut of ``fast``
- ``querysets``: which rows are whose, light rows, pages of rows
- ``creating``: rows made by name, of JSON, for beat's time tables
- ``announcing``: sends the signals once their fact is committed
- ``task_info``, ``lookup``: the name of a row, "app.model:pk", and the row of a name
- ``databases``, ``transactions``, ``sessions``, ``retrying``, ``clock``: aliases and replicas,
  savepoints and hooks, sessions of a worker, statements tried again, the database's clock
- ``deadline``: how long a save waits for others in all
- ``timeouts``, ``redis_connection``: run-time timeouts, and other questions to Redis, in time
- ``at_once``, ``no_fork``: questions in threads of their own; no fork while a thread works
- ``greenlets``: workers that run rows in greenlets, of gevent or eventlet
- ``interruptions``: what ends a process on purpose, and not a row
"""
