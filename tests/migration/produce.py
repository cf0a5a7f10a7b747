"""A web process that makes rows until its standard input ends: ``URL SECONDS``."""

import itertools
import select
import sys
import time

import django

if __name__ == "__main__":
    django.setup()
    from tests.migration.shop.models import Order, Parcel

    for number in itertools.count(1):
        if number % 3:
            Order.objects.create(number=number)
        else:
            Parcel.objects.create(url=sys.argv[1])
        print(number, flush=True)
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        time.sleep(float(sys.argv[2]))
