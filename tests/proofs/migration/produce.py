"""A web process that makes rows until its standard input ends: ``URL SECONDS``.

It waits for the servers while they are behind: more rows would take their time, and
show nothing more.
"""

import itertools
import select
import sys
import time

import django

BEHIND = 30  # rows

if __name__ == "__main__":
    django.setup()
    from tests.proofs.migration.shop.models import Order, Parcel

    def undone():
        return sum(model.objects.exclude(status=30).count() for model in (Order, Parcel))

    for number in itertools.count(1):
        if number % 3:
            Order.objects.create(number=number)
        else:
            Parcel.objects.create(url=sys.argv[1])
        print(number, flush=True)
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        time.sleep(float(sys.argv[2]))
        while number % 10 == 0 and undone() > BEHIND:
            time.sleep(0.1)
