"""The app's process makes rows with requests: ``… '{"count": 20, "url": "http://…"}'``."""

import json
import sys
import time

import django


def main(count, url, pause=0.1, copies=1):
    from tests.proofs.faults.app import create
    from tests.proofs.faults.shop.asking import Asking
    from tests.proofs.faults.shop.models import Durable

    for number in range(count):
        if number % 4 == 0:  # a row without requests, which others must not hold up
            create(Durable(seconds=0.1), die=False)
        row = Asking(url=url, seconds=0.05)
        create(row, die=False)
        for _ in range(copies - 1):
            row.publish()
        time.sleep(pause)


if __name__ == "__main__":
    django.setup()
    main(**json.loads(sys.argv[1]))
