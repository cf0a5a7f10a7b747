"""From the commit to the broker: the message that carries a row's name.

- ``publisher``: what is published, and when: one hook a transaction
- ``messages``: the message of a row, and of a chunk of rows
- ``to_celery``, ``to_lists``: where messages go, and what a failure there means
- ``producers``: connections to the broker, kept open, with bounded waits
- ``broker``: what can be asked of the broker: ping, workers, lengths of queues
- ``recorder``: the sender that tests put in the place of the real one
"""
