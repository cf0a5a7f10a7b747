"""Run both base classes on both databases; exit code 1 where something fails."""

import sys
import tempfile
from pathlib import Path

from tests.support import services

services.plan()

import django  # noqa: E402
from django.conf import settings  # noqa: E402

settings.configure(INSTALLED_APPS=["simpletask2_celery"])
django.setup()

from tests.proofs.django_suite import databases, run, source  # noqa: E402


def main():
    failed = False
    with tempfile.TemporaryDirectory() as base:
        tests = source.fetch(Path(base))
        for kind in databases.KINDS:
            folder = Path(base, kind)
            folder.mkdir()
            with databases.lent(kind, folder) as found:
                for module in run.BASES:
                    faults = run.faults(tests, folder / module, module, found)
                    print(f"{kind}, {module}: {len(faults)} fail that should not")
                    for name, said in faults.items():
                        print(f"\n{name}\n{said}")
                    failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
