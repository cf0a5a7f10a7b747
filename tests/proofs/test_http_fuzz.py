"""Whatever is sent to the HTTP API, the answer is the envelope, and nothing has changed."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http_api import KEY, NAMES, send
from tests.support.project.jobs.models import (
    Job,
    Ledger,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


FIELDS = ("task_info", "step", "proxied_content", "proxied_error", "channels", "more")


NAMED = st.sampled_from(["jobs.job:", "jobs.uuidjob:", "jobs.pairjob:", "auth.user:", ":"])


PAYLOADS = st.fixed_dictionaries(
    {"aclkey": st.just(KEY)},
    optional={
        "task_info": JSON | st.builds(str.__add__, NAMED, st.text() | st.just("1")),
        **{name: JSON for name in FIELDS[1:]},
    },
)


BODIES = st.binary() | st.text() | JSON.map(json.dumps) | PAYLOADS.map(json.dumps)


@pytest.mark.parametrize("name", NAMES)
def test_no_body_gets_another_answer_than_the_envelope(name, settings_of_fuzz):
    User.objects.create(username="a")
    row = Job.objects.create(what="write_ledger", status=Job.DONE)
    before = list(Job.objects.values()), list(User.objects.values())
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(BODIES)
    def post(body):
        if isinstance(body, str):
            body = body.encode(errors="surrogatepass")
        assert send(name, body, client)["error"]["code"] != 2910000

    post()
    assert (list(Job.objects.values()), list(User.objects.values())) == before
    assert row.pk and not Ledger.objects.exists()


@pytest.fixture
def settings_of_fuzz(monkeypatch):
    from simpletask2_celery import conf

    monkeypatch.setattr(conf.Conf, "task_pull_timeout", 0.0)  # it waits for a row
