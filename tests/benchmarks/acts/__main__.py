import json
import os
import sys
from importlib import import_module

import django


def argument(text):
    return int(text) if text.isdecimal() else text


def main(what, *arguments):
    if os.environ["BENCH_SIDE"] in ("ours", "tasks", "hand") or "BENCH_TASK" in os.environ:
        from tests.benchmarks import celery  # noqa: F401
    django.setup()
    module, _, name = what.partition(".")
    act = getattr(import_module(f"tests.benchmarks.acts.{module}"), name)
    print(json.dumps(act(*map(argument, arguments))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
