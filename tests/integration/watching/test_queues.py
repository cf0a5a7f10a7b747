"""Which queues rows wait in, and which of them have a worker."""

import pytest
from celery import current_app
from kombu.transport import TRANSPORT_ALIASES, memory

from simpletask2_celery.publishing import broker
from simpletask2_celery.publishing.broker import Worker
from simpletask2_celery.watching import counts, figures, queues
from tests.support.fixtures import queue_name, queued, rebuild_router
from tests.support.project.jobs.models import ChannelJob, DurableJob, Job
from tests.support.rows import DOING, READY, ago, make

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])
A = Worker("one@here", [queue_name("a")])


def seen(workers):
    """Return (queue, workers, rows that wait) of each queue but the default one."""
    tables = figures.read([ChannelJob, Job], history=False).models
    found = figures.served(tables, workers)
    return [(one.name, one.workers, one.waiting) for one in found if one.channel != "default"]


@pytest.fixture
def route(monkeypatch):
    """Have the app's messages take the ways that a test says."""

    def by(routes):
        monkeypatch.setitem(current_app.conf, "task_routes", routes)
        rebuild_router()

    yield by
    monkeypatch.undo()
    rebuild_router()


def test_the_rows_of_all_databases_wait_in_the_queue_of_their_channel(using):
    make(using, 2, ChannelJob, {"topic": "mail"})
    make(using, 1, ChannelJob, {"topic": "a"}, add_time=ago(50))
    make(using, 1, ChannelJob, {"topic": "a"}, status=DOING, auto_reset_time=ago(-9))
    twice = [A, A._replace(queues=[*A.queues, "other"])]  # under one name, too
    assert sorted(seen(twice)) == [(queue_name("a"), 2, 1), (queue_name("mail"), 0, 2)]
    [one] = [one for one in figures.read([ChannelJob]).served if one.channel == "a"]
    assert 50 <= one.oldest_seconds < 80
    queued("mail"), queued("a")


def test_a_row_that_is_published_for_later_does_not_wait_yet(using):
    rows = [ChannelJob.objects.using(using).create(topic="mail") for _ in range(3)]
    rows[0].publish(countdown=3600)
    ChannelJob.objects.using(using).filter(pk=rows[1].pk).update(auto_reset_time=None)
    assert seen([A]) == [(queue_name("mail"), 0, 2)]
    ChannelJob.objects.using(using).filter(pk=rows[0].pk).update(auto_reset_time=ago(-200))
    assert seen([A]) == [(queue_name("mail"), 0, 3)]  # task_wait_timeout is 300 s
    queued("mail")


def test_a_durable_row_that_waits_for_its_time_waits_for_no_worker(using):
    make(using, 2, DurableJob, {"topic": "mail"}, run_after=ago(-7 * 86400), add_time=ago(86400))
    make(using, 1, DurableJob, {"topic": "a"}, run_after=ago(9), add_time=ago(86400))
    tables = figures.read([DurableJob], history=False).models
    found = figures.served(tables, [Worker("one@here", [])])
    assert [one.name for one in queues.unserved(found)] == [queue_name("a")]
    assert not queues.is_late(found)  # who has waited for 9 seconds, though added a day ago
    queued("mail"), queued("a")


@BOTH
def test_the_channels_that_wait_longest_are_told_apart_however_many_there_are(monkeypatch):
    monkeypatch.setattr(counts, "TOP", 1)
    monkeypatch.setattr(counts, "MOST", 2)
    make("default", 9, ChannelJob, {"topic": "many"})
    for age, topic in enumerate("xyz"):
        make("default", 1, ChannelJob, {"topic": topic}, add_time=ago(1000 + age))
    names = {name for name, *_ in seen([A])}
    assert names == {queue_name(topic) for topic in ("many", "y", "z")}


@BOTH
def test_a_hundred_channels_that_wait_are_told_apart():
    rows = [ChannelJob(topic=f"c{number}") for number in range(105)]
    ChannelJob.objects.bulk_create(rows)
    [table] = [one for one in figures.read([ChannelJob]).models if one.using == "default"]
    assert len(table.waiting) == 100 and table.total.waiting == 105


@BOTH
@pytest.mark.parametrize(
    ("routes", "names"),
    [
        ({"simpletask2_celery.do_task": {"queue": "hers"}}, {"hers"}),
        (lambda name, args, kwargs, options, task=None: by_model(kwargs), {"hers"}),
        (lambda name, args, kwargs, options, task=None: by_key(kwargs), set()),
        ({"simpletask2_celery.do_task": {"exchange": "e", "routing_key": "k"}}, set()),
    ],
)
def test_the_queue_is_that_of_the_projects_routes(route, routes, names):
    """Where a route needs the key of a row, or names an exchange, nobody knows the queue."""
    ChannelJob.objects.bulk_create([ChannelJob(topic="mail")])
    route(routes)
    assert {name for name, *_ in seen([A])} == names


def by_model(kwargs):
    return {"queue": "hers"} if kwargs.get("model") == "channeljob" else None


def by_key(kwargs):
    return {"queue": f"shard{kwargs['id'] % 2}"}


@BOTH
def test_it_is_not_known_where_nobody_can_say(settings, monkeypatch):
    make("default", 1, ChannelJob, {"topic": "mail"})
    tables = figures.read([ChannelJob]).models
    assert figures.served(tables, [A]) is not None
    assert figures.served(tables, None) is None
    assert figures.served(tables, [A, Worker("odd@here", None)]) is None
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    assert figures.served(tables, [A]) is None
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    assert figures.served(tables, [A]) is not None
    monkeypatch.setitem(current_app.conf, "task_always_eager", True)
    assert figures.served(tables, [A]) is None
    queued("mail")


class WithoutBroadcasts(memory.Transport):
    implements = memory.Transport.implements.extend(exchange_type=frozenset(["direct"]))


def test_a_broker_without_broadcasts_has_no_remote_control(monkeypatch):
    name = f"{__name__}:{WithoutBroadcasts.__name__}"
    monkeypatch.setitem(TRANSPORT_ALIASES, "plain", name)
    monkeypatch.setattr(current_app.conf, "broker_write_url", "plain://")
    assert broker.workers(0.1) is None


def test_a_queue_has_messages_or_rows_and_no_worker():
    found = [
        queues.Queue("a", "q.a", 1, 5, 99.0),
        queues.Queue("b", "q.b", 0, 1, 1.0),
        queues.Queue("c", "q.c", 0),
        queues.Queue("d", "q.d", 0),
    ]
    assert queues.names(queues.unserved(found)) == "q.b"
    messages = {"a": 9.0, "c": 1.0, "d": 0.0}
    assert queues.names(queues.unserved(found, messages)) == "q.b, q.c"
    many = [queues.Queue("x", f"q{number}", 0, 1) for number in range(12)]
    assert queues.names([*many, *many]).endswith("q8, q9, …")


def test_ready_rows_that_wait_are_not_more_than_all(using):
    make(using, 2, status=READY, add_time=ago(100), auto_reset_time=ago(-1000))
    make(using, 1, status=READY, add_time=ago(50))
    [total] = [one.total for one in figures.read([Job]).models if one.using == using]
    assert (total.ready, total.waiting) == (3, 1)
    assert 100 <= total.oldest_ready_seconds < 150 and 50 <= total.oldest_waiting_seconds < 90
