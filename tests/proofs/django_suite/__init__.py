"""Django's own tests, with SimpleTask as the base class of their models.

What Django promises of a model has to hold for one that is a task: outside of runs
(``outside.py`` is the base class) and in one (``inside.py``). ``inherent.py`` names the
tests that a model with eleven more columns cannot pass; any other that fails is a fault.

``python -m tests.proofs.django_suite`` runs both on SQLite and PostgreSQL, by the Django
that is installed.
"""
