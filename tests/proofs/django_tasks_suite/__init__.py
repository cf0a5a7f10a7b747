"""The tests that django-tasks-db publishes of its backend, run against CeleryBackend.

``run`` fetches them from the index and leaves nothing of them behind. ``shim`` is put in the place
of their package: its models, its command and its functions, by their names, on our rows.
``inherent`` lists the tests that ask for that package's own ways, with the reasons.
"""
