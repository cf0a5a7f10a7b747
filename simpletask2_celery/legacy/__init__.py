"""For those who come from django-simpletask2: its HTTP API, its Redis lists, its command.

- ``views``, ``reservations``: the HTTP API of servers that drive steps
- ``mover``: what old producers push to the Redis lists goes to Celery's queues
- ``lists``: takes entries from these lists, for both of them
- ``yaml_file``, ``config_file``: the old YAML file, and Celery's settings of it
- ``cli``, ``supervisor``: the old command, on Celery
"""
