"""An app that makes rows until its standard input ends, one at least: ``WHAT``."""

import select
import sys

import django

if __name__ == "__main__":
    django.setup()
    from tests.proofs.becoming.shop.models import Order

    while True:
        Order.objects.create(what=sys.argv[1])
        if select.select([sys.stdin], [], [], 0.08)[0]:
            break
