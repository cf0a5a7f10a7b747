"""The fault matrix: every fault that the field knows, on real servers and processes.

``python -m tests.proofs.faults`` meets every fault once, ``--long`` on every pair of a
broker and a database that the machine can start; ``--write`` puts the table into
docs/evidence/reliability.md. From top to bottom: ``__main__`` plans and reports, a ``lane`` runs
faults on one pair, ``scenarios`` has the faults, ``rig`` what they act on, ``count`` what
came of it.
"""
