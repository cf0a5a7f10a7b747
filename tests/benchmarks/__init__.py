"""The benchmark: ours beside what a project would use instead, on real servers.

``python -m tests.benchmarks`` runs it, ``--write`` puts table and chart into
docs/evidence/performance.md. From top to bottom: ``__main__`` plans and reports, ``rounds`` runs
the systems in turn, ``systems`` says how each is started and measured, ``scales`` has
what is measured once, ``acts`` what both have done in processes of their own,
``targets`` what is aimed at, ``report`` and ``chart`` what is said of it. ``simple`` and
``plain`` are the Django apps.
"""
