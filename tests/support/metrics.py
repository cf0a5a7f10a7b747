"""A page of metrics, taken apart."""

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families as parse

JOB = {"model": "jobs.job", "channel": "default"}


def samples(text):
    """Return {name: {labels: value}} of a page of metrics."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def value(page, name, **labels):
    return page.get(f"simpletask2_{name}", {}).get(frozenset(labels.items()))


def scrape(**headers):
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    return answer
