"""A save waits for broker, names, lists and cache together as long as one setting says."""

import contextlib
import time
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
import redis
from celery import current_app
from django.core.cache import caches
from django_redis.pool import ConnectionFactory

from simpletask2_celery import health
from simpletask2_celery.publishing import broker, producers
from simpletask2_celery.rows import announcing, at_once, redis_connection, timeouts
from tests.proofs.faults.servers import Valkey
from tests.support import networks
from tests.support.fixtures import close_breakers
from tests.support.project.jobs.models import ChannelJob, Job

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])

MOST = 1.5  # seconds of a save, whatever is silent


class OwnPool(redis.ConnectionPool):
    """A pool of a class of the user's own, which knows no timeout."""


@pytest.fixture
def sent(monkeypatch):
    """Start as a new process does, and return the messages that a broker takes."""
    messages = []
    monkeypatch.setattr(announcing, "published", messages.extend)
    new_process(monkeypatch)
    yield messages
    new_process(monkeypatch)
    monkeypatch.undo()


def new_process(monkeypatch):
    for idle in producers._idle.values():
        while (producer := idle.pop()) is not None:
            with contextlib.suppress(Exception):
                producer.connection.release()
    monkeypatch.setattr(producers, "_idle", WeakKeyDictionary())
    monkeypatch.setattr(redis_connection, "_clients", {})
    monkeypatch.setattr(at_once, "_hung", {})
    timeouts.forget()
    close_breakers()


@pytest.fixture
def use_broker(monkeypatch):
    def use(*ports, host="127.0.0.1"):
        known = urlsplit(current_app.conf.broker_url)
        login = f"{known.username}:{known.password}@" if known.username else ""
        urls = [f"{known.scheme}://{login}{host}:{port}{known.path}" for port in ports]
        monkeypatch.setitem(current_app.conf, "broker_write_url", ";".join(urls))

    return use


@pytest.fixture
def use_cache(settings, monkeypatch):
    monkeypatch.setattr(ConnectionFactory, "_pools", {})

    def use(location, **options):
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": location,
                "OPTIONS": options,
            }
        }
        caches._settings = caches.configure_settings(None)

    return use


def timed_save(**fields):
    close_breakers()
    timeouts.forget()
    began = time.monotonic()
    row = ChannelJob.objects.create(**fields)
    seconds = time.monotonic() - began
    assert ChannelJob.objects.filter(pk=row.pk).exists()
    return seconds


def port_of_the_broker():
    known = urlsplit(current_app.conf.broker_url)
    return known.port or {"redis": 6379, "amqp": 5672}[known.scheme]


@pytest.mark.parametrize("lists", ["celery", "both", "redis"])
def test_a_slow_resolver(sent, use_broker, use_cache, monkeypatch, settings, lists):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = lists
    networks.resolve_slowly(monkeypatch)
    use_broker(port_of_the_broker(), host="broker.test")
    use_cache("redis://cache.test:6379/1")
    assert [timed_save() < MOST for _ in range(3)] == [True] * 3
    assert sent == []


@pytest.mark.parametrize("lists", ["celery", "both"])
def test_a_name_with_many_dead_addresses(sent, use_broker, use_cache, monkeypatch, settings, lists):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = lists
    with networks.dead_addresses(6) as addresses:
        networks.resolve_to(monkeypatch, addresses)
        use_broker(port_of_the_broker(), host="broker.test")
        use_cache("redis://cache.test:6379/1")
        assert [timed_save() < MOST for _ in range(3)] == [True] * 3
    assert sent == []


@pytest.mark.parametrize("lists", ["celery", "both"])
def test_a_silent_broker_and_a_silent_cache(sent, use_broker, use_cache, settings, lists):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = lists
    with networks.silent() as port, networks.silent() as other:
        use_broker(port)
        use_cache(f"redis://127.0.0.1:{other}/1")
        assert [timed_save() < MOST for _ in range(3)] == [True] * 3
        assert sent == []


@pytest.mark.parametrize("kind", ["sentinel", "own pool"])
def test_a_cache_that_knows_no_timeout(sent, use_cache, settings, kind):
    with networks.silent() as port:
        if kind == "sentinel":
            settings.DJANGO_REDIS_CONNECTION_FACTORY = "django_redis.pool.SentinelConnectionFactory"
            use_cache(
                "redis://mymaster/1",
                CLIENT_CLASS="django_redis.client.SentinelClient",
                SENTINELS=[("127.0.0.1", port), ("127.0.0.1", port)],
            )
        else:
            own = f"{OwnPool.__module__}.{OwnPool.__qualname__}"
            use_cache(f"redis://127.0.0.1:{port}/1", CONNECTION_POOL_CLASS=own)
        assert [timed_save() < MOST for _ in range(3)] == [True] * 3
        assert len(sent) == 3  # the broker was left its time


def test_silent_sentinels_of_the_broker(sent, monkeypatch):
    with networks.silent() as one, networks.silent() as other:
        urls = f"sentinel://127.0.0.1:{one}/0;sentinel://127.0.0.1:{other}/0"
        monkeypatch.setitem(current_app.conf, "broker_write_url", urls)
        options = {"master_name": "mymaster"}
        monkeypatch.setitem(current_app.conf, "broker_transport_options", options)
        assert [timed_save() < MOST for _ in range(3)] == [True] * 3
        assert sent == []


@pytest.mark.parametrize("first", ["silent", "gone", "far too slow a name"])
def test_the_second_of_two_brokers(sent, use_broker, monkeypatch, first):
    networks.resolve_slowly(monkeypatch)
    with networks.silent() as port:
        ports = {"silent": port, "gone": 1}.get(first, "6379")
        use_broker(ports, port_of_the_broker())
        if first == "far too slow a name":
            urls = current_app.conf.broker_write_url.replace("127.0.0.1", "a.test", 1)
            monkeypatch.setitem(current_app.conf, "broker_write_url", urls)
        for _ in range(2):  # of a process, and of the next one
            new_process(monkeypatch)
            assert timed_save() < MOST
            assert timed_save() < 0.2  # it is known which one answers
        assert len(sent) == 4


def test_a_broker_far_away_is_published_to(sent, use_broker, settings):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TIMEOUT = 8.0
    with networks.far_away("127.0.0.1", port_of_the_broker(), 0.2) as port:
        use_broker(port)
        assert timed_save() < 8
        assert [timed_save() < 1 for _ in range(3)] == [True] * 3  # it stays connected
        assert timed_save(topic="mail") < MOST  # of which nobody has heard yet
    assert len(sent) == 5


def test_a_connection_that_takes_too_long_is_there_for_a_later_save(sent, use_broker):
    """With the timeout as it is by default, and a broker that is too far away for it."""
    with networks.far_away("127.0.0.1", port_of_the_broker(), 0.2) as port:
        use_broker(port)
        took = []
        end = time.monotonic() + 20
        while not sent and time.monotonic() < end:
            took.append(timed_save())
            time.sleep(1)
        assert max(took) < MOST and sent, took


def test_a_broker_that_has_fallen_silent_is_noticed(sent, use_broker, monkeypatch):
    """Its connection was kept; another is made, in the time that is left."""
    assert timed_save() < MOST and len(sent) == 1
    idle = next(iter(producers._idle.values()))
    with networks.silent() as port, contextlib.ExitStack() as stack:
        use_broker(port)
        producer = idle.pop()
        stack.callback(producer.connection.release)
        idle.urls = producers._urls(current_app._get_current_object())
        idle.keep(producer)
        hang(producer, monkeypatch)
        assert timed_save() < MOST
        assert len(sent) == 1


def test_a_kept_connection_to_a_server_that_is_no_primary_any_more(sent, monkeypatch, tmp_path):
    """A failover behind a name: what is open goes on to the old one, which is read-only."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("old", "new"):
            (tmp_path / name).mkdir()
            servers.append(Valkey(tmp_path / name))
            stack.callback(servers[-1].stop)
        old, new = servers
        monkeypatch.setitem(current_app.conf, "broker_write_url", old.url)
        assert timed_save() < MOST and len(sent) == 1
        old.client().execute_command("REPLICAOF", "127.0.0.1", new.port)
        monkeypatch.setitem(current_app.conf, "broker_write_url", new.url)
        assert timed_save() < MOST and len(sent) == 2
        assert new.client().llen(current_app.conf.task_default_queue) == 1
        new_process(monkeypatch)


def hang(producer, monkeypatch):
    """Let what is sent by this producer wait as long as a silent server lets it."""

    def wait(*_, **__):
        time.sleep(producer.connection.transport_options["socket_timeout"])
        raise TimeoutError

    monkeypatch.setattr(producer, "batch", wait)


def test_what_the_database_takes_is_not_the_brokers(sent, settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TIMEOUT = 0.5
    own = ChannelJob.save_base

    def slow(self, *args, **kwargs):
        time.sleep(1)
        return own(self, *args, **kwargs)

    monkeypatch.setattr(ChannelJob, "save_base", slow)
    timed_save()
    assert len(sent) == 1


def test_who_asks_for_health_waits_five_seconds_at_most(use_broker, use_cache, sent):
    Job.objects.bulk_create([Job()])
    with networks.silent() as port, networks.silent() as other:
        use_broker(port)
        use_cache(f"redis://127.0.0.1:{other}/1")
        began = time.monotonic()
        found = {one.name: one for one in health.check(timeout=1)}
        assert time.monotonic() - began < 5
    assert not found["broker"].ok and not found["workers"].ok
    assert found["database default"].ok and found["oldest READY row"].value is not None


def test_the_length_of_a_queue_is_known_under_a_prefix(sent, monkeypatch):
    if not current_app.conf.broker_url.startswith("redis"):
        pytest.skip("a prefix of keys is of Redis")
    prefixed = {**current_app.conf.broker_transport_options, "global_keyprefix": "p:"}
    monkeypatch.setitem(current_app.conf, "broker_transport_options", prefixed)
    for _ in range(3):
        timed_save(topic="mail")
    assert broker.messages_in_queue("mail") == 3
    with producers.lent(producers.connected(5)) as producer:
        producer.channel.client.flushdb()
    assert broker.messages_in_queue("mail") == 0
