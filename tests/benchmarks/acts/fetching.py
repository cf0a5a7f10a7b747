"""Rows that ask for a request each, and the requests alone."""

import time
from concurrent.futures import ThreadPoolExecutor


def publish(url, count, large=0):
    """Publish rows; so many more, among them, have an answer of 10 MiB."""
    from tests.benchmarks.simple.models import Fetch

    urls = [url] * count
    for number in range(large):
        urls.insert(number * len(urls) // large, f"{url}large")
    rows = Fetch.objects.bulk_create(Fetch(url=one) for one in urls)
    return Fetch.publish_many(rows)


def publish_others(count):
    """Publish rows that ask for nothing."""
    from tests.benchmarks.simple.models import Task

    return Task.publish_many(Task.objects.bulk_create(Task(name="you") for _ in range(count)))


def publish_by_hand(url, count):
    from tests.benchmarks.plain.hand import fetch
    from tests.benchmarks.plain.models import Twin

    for row in Twin.objects.bulk_create(Twin(name="page") for _ in range(count)):
        fetch.delay(row.pk, url)
    return count


def requests_alone(url, count):
    """Return the seconds that 200 threads need for the requests, without Celery or rows."""
    from tests.benchmarks.plain.hand import session

    began = time.perf_counter()
    with ThreadPoolExecutor(200) as pool:
        assert all(answer.ok for answer in pool.map(session().get, [url] * count))
    return time.perf_counter() - began
