"""For those who come from django-simpletask2: its HTTP API, its Redis lists, its command.

- ``views``, ``reservations``: the HTTP API of servers that drive steps
- ``mover``: what old producers push to the Redis lists goes to Celery's queues
- ``lists``: takes entries from these lists, for both of them
- ``config_file``, ``cli``, ``supervisor``: the old YAML file and command, on Celery
"""
