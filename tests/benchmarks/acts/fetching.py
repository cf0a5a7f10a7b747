"""Rows that ask for a request each."""

from tests.benchmarks.simple.models import Fetch


def publish(url, count):
    rows = Fetch.objects.bulk_create(Fetch(url=url) for _ in range(count))
    return Fetch.publish_many(rows)
