"""One queue that the broker refuses, and everybody else's rows."""

import pytest
from celery import current_app
from django.db import transaction
from kombu import Queue

from simpletask2_celery.publishing import messages as row_messages
from simpletask2_celery.publishing import producers, publisher, to_celery
from tests.support.fixtures import broker, messages, queue_name, queued
from tests.support.project.jobs.models import ChannelJob, Job

REFUSED = "refused"


@pytest.fixture
def refused():
    """A channel whose queue's name is something else's at the broker already."""
    name = queue_name(REFUSED)
    with current_app.connection_for_write() as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            channel.client.set(name, "no list")
            yield REFUSED
            channel.client.delete(name)
        else:
            Queue(name, durable=False, auto_delete=False, channel=channel).declare()
            yield REFUSED
            channel.queue_delete(name)


def of_channels(*topics):
    with transaction.atomic():
        return [ChannelJob.objects.create(topic=topic) for topic in topics]


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_rest_of_a_transaction_is_sent(refused, place, caplog):
    topics = ["a", "mail"]
    topics.insert(place, refused)
    rows = {row.topic: row.pk for row in of_channels(*topics)}
    # What was sent before the refusal may be sent twice, which does nothing.
    assert {kwargs["id"] for kwargs in queued("a")} == {rows["a"]}
    assert {kwargs["id"] for kwargs in queued("mail")} == {rows["mail"]}
    [record] = [r for r in caplog.records if "refuses queue" in r.getMessage()]
    assert queue_name(refused) in record.getMessage()


def test_others_are_published_at_once_and_it_is_not_asked_again_for_a_while(refused, caplog):
    of_channels(refused)
    assert not to_celery.breaker.is_open() and publisher.has_failed()
    for _ in range(3):
        Job.objects.create()
        of_channels(refused)
    assert len(queued()) == 3
    assert caplog.text.count("refuses queue") == 1


def test_a_reset_gets_behind_it(refused):
    of_channels(refused, "a", refused, "mail", "a")
    for channel in ("a", "mail"):
        queued(channel)
    ChannelJob.objects.update(auto_reset_time=None)
    assert ChannelJob.do_auto_reset() == 5
    sent = {channel: {kwargs["id"] for kwargs in queued(channel)} for channel in ("a", "mail")}
    assert (len(sent["a"]), len(sent["mail"])) == (2, 1)


def test_many_rows_of_a_channel_that_is_refused_are_one_warning(refused, caplog):
    of_channels(*[refused] * 50, *["a"] * 50)
    assert len(queued("a")) == 50
    assert "Rows not published: 50 of channel refused" in caplog.text


def test_a_name_that_is_too_long_for_the_broker_stops_nobody():
    with broker() as connection:
        if connection.transport.driver_type == "redis":
            pytest.skip("a key of Redis is as long as it likes")
    of_channels("x" * 60, "a")  # with the run's own prefix still short enough
    to_celery.send(
        [
            row_messages.of_row(ChannelJob(pk=1), "y" * 300),
            row_messages.of_row(ChannelJob(pk=2), "mail"),
        ],
        {},
    )
    assert [kwargs["id"] for kwargs in queued("mail")] == [2]
    assert len(messages("a")) == 1
    with current_app.connection_for_write() as connection:
        connection.default_channel.queue_delete(queue_name("x" * 60))


def test_a_broker_that_is_gone_is_asked_once_for_all_channels(monkeypatch, caplog):
    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(producers, "kept", lambda: None)
    monkeypatch.setattr(producers, "connected", refuse)
    of_channels("a", "mail", "routed")
    assert to_celery.breaker.is_open()
    assert caplog.text.count("failed (") == 1
