"""The YAML file of the old server: what Celery is told, and what is refused."""

import logging

import pytest
from celery import Celery
from kombu import Connection

from simpletask2_celery.legacy import config_file, yaml_file
from simpletask2_celery.legacy.config_file import ConfigFileError
from tests.support.yaml_file import SEED


def test_the_file_of_the_originals_document(file, settings):
    told = config_file.load(file(SEED))
    queue = settings.CELERY_TASK_DEFAULT_QUEUE  # of the channel "default"
    assert told["broker_url"] == "redis://:xxx@xxx:6379/0"
    assert [q.name for q in told["task_queues"]] == [queue]
    assert (told["worker_concurrency"], told["worker_pool"]) == (1, "threads")
    entry = told["beat_schedule"]["simpletask2-auto-reset"]
    assert (entry["task"], entry["schedule"]) == ("simpletask2_celery.do_auto_reset", 60)
    assert entry["options"] == {"expires": 54, "queue": queue}
    assert set(told) == {
        "broker_url",
        "task_queues",
        "worker_concurrency",
        "worker_pool",
        "beat_schedule",
    }


def test_only_what_the_file_says(file):
    assert config_file.load(file("")) == {}
    assert config_file.load(file("threads:\nchannels: null\n")) == {}
    told = config_file.load(file("do-auto-reset-task: no\nauto-reset-task-interval: 3\n"))
    assert told == {"simpletask2_do_auto_reset": False}


def test_channels_become_queues_that_publishers_use(file, settings):
    told = config_file.load(file("channels: mail, sms"))
    names = [settings.DJANGO_SIMPLETASK2_QUEUE_TEMPLATE.format(channel=c) for c in ("mail", "sms")]
    assert [q.name for q in told["task_queues"]] == names
    # As Celery makes the queue of apply_async(queue=name).
    assert [(q.exchange.name, q.routing_key) for q in told["task_queues"]] == [
        (name, name) for name in names
    ]


def test_keys_without_a_meaning_are_named_once(file, caplog):
    path = file(SEED + "request_timeout: 60\n")
    caplog.set_level(logging.INFO)
    config_file.load(path)
    config_file.load(path)
    [line] = [r.getMessage() for r in caplog.records if "config.yml" in r.getMessage()]
    assert line.endswith(
        "without a meaning under Celery: server, aclkey, task-pull-engine, idle-sleep, "
        "error-sleep, request_timeout"
    )
    assert "xxxx" not in line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/2?decode_responses=True&socket_timeout=3", "redis://h:1/2"),
        ("redis://u:p%40w@h/0", "redis://u:p%40w@h/0"),
        ("redis://h", "redis://h/0"),
        ("redis://h/1?db=5", "redis://h/5"),
        ("redis://h?password=a/b", "redis://:a%2Fb@h/0"),
        (
            "rediss://h:6380/0?ssl_cert_reqs=required&decode_responses=1",
            "rediss://h:6380/0?ssl_cert_reqs=required",
        ),
        ("unix:///tmp/r.sock?db=3", "redis+socket:///tmp/r.sock?virtual_host=3"),
    ],
)
def test_a_redis_url_becomes_a_brokers(url, expected):
    made = yaml_file.broker_url(url)
    assert made == expected
    Connection(made)
    app = Celery("x", set_as_current=False, broker=made)
    assert app.connection().as_uri(include_password=True)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)
)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("chanels: x", "line 1: unknown key 'chanels'; the nearest is channels"),
        ("threads: 1\nidle_sleep: 5", "line 2: unknown key 'idle_sleep'; .* idle-sleep"),
        ("threads: 1\n\nthreads: 2", "line 3: threads is in the file twice"),
        ('threads: "4"', "line 1: threads must be a whole number above 0"),
        ("threads: 1.5", "line 1: threads must be a whole number above 0"),
        ("threads: 0", "line 1: threads must be a whole number above 0"),
        ("threads: true", "line 1: threads must be a whole number above 0"),
        ("threads: [1]", "line 1: threads must be a whole number above 0"),
        ("threads: " + "9" * 5000, "line 1: threads must be a whole number above 0"),
        ("auto-reset-task-interval: .inf", "must be a number above 0"),
        ("auto-reset-task-interval: .nan", "must be a number above 0"),
        ("auto-reset-task-interval: -1", "must be a number above 0"),
        ("do-auto-reset-task: 1", "line 1: do-auto-reset-task must be true or false"),
        ("channels: 5", "line 1: channels must be a text"),
        ("channels: ' , '", "line 1: channels must name a channel"),
        ("loglevel: loud", "line 1: loglevel must be one of DEBUG"),
        ("aclkey: 12345", "line 1: aclkey must be a text"),
        ("redis: http://:secret@h", "line 1: redis must begin with redis://"),
        ("redis: redis://:secret@h:99999/0", "line 1: redis is no URL"),
        ("redis: redis://:secret@h/name", "line 1: redis must name its database"),
        ("- a", "must hold keys and values"),
        ("text", "must hold keys and values"),
        ("? [a]\n: 1", "line 1: a key must be a name"),
        ("{", "line 1: expected the node content"),
        ('redis: "redis://:secret@h\nchannels: x', "line 2: found unexpected end"),
        ("redis: redis://:secret@h\n  a: b: c", "line 2: mapping values are not allowed"),
        (b"\xff\xfe\x00", "config.yml"),
        (b"redis: \x00", "config.yml"),
        ("[" * 20_000, "nested too deep"),
        (BOMB, "line 1: unknown key 'a'"),
        (BOMB.replace("a: &a", "redis: &a"), "line 1: redis must be a text"),
        ("server: &x a\nredis: *secret", "an alias without its anchor"),
        ("aclkey: !secret", "line 1: aclkey has a tag"),
        ("threads: 0x" + "F" * 5000 + "\nredis: x", "line 2: redis must begin"),
        ("#" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
        ("--- {}\n--- {}", "a second document"),
    ],
)
def test_a_file_that_is_refused(file, content, error):
    with pytest.raises(ConfigFileError, match=error) as caught:
        config_file.load(file(content))
    text = str(caught.value)
    assert "config.yml" in text and "secret" not in text and len(text) < 400
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["redis: {}", "{}: 1", "{}"])
def test_no_tag_runs_code(file, tmp_path, place):
    mark = tmp_path / "ran"
    call = f'!!python/object/apply:os.system ["touch {mark}"]'
    path = file(place.format(call))
    with pytest.raises(ConfigFileError):
        config_file.load(path)
    assert not mark.exists()
    with pytest.raises(ConfigFileError, match="has a tag of YAML's; none is allowed"):
        config_file.load(file("redis: !!python/name:os.system"))


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(ConfigFileError, match=f"{path} cannot be read"):
            config_file.load(path)
