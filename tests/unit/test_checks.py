"""System checks: what is wrong, named, with an id and a hint."""

import pytest
from celery import Celery, current_app
from django.conf import settings as django_settings
from django.core import checks as django_checks
from django.db import connections
from django.test import override_settings

from simpletask2_celery.checks import celery_app, databases, durable, handlers, project
from simpletask2_celery.conf import all_settings, conf
from tests.support.fixtures import ROOT
from tests.support.project.jobs.models import AtomicSteps, Job, Steps


def ids(found):
    assert all(message.hint for message in found)
    return [message.id for message in found]


def test_final_step_without_its_handler(monkeypatch):
    monkeypatch.setattr(Steps, "final_step", 6)
    found = handlers.handlers()
    assert ids(found) == ["simpletask2_celery.E001"] * 2
    assert "do_task_main_step5" in found[0].msg


def yields(self, payload=None):
    yield payload


async def yields_async(self, payload=None):
    yield payload


@pytest.mark.parametrize("handler", [yields, yields_async])
@pytest.mark.parametrize("name", ["do_task_main", "do_task_main_step1"])
def test_a_handler_with_a_yield_in_it_is_an_error(monkeypatch, handler, name):
    assert handlers.generators() == []
    monkeypatch.setattr(Job, name, handler)
    found = [one for one in handlers.generators() if one.obj is Job]
    assert ids(found) == ["simpletask2_celery.E004"]
    assert f"Job.{name} is a generator" in found[0].msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_TEMPLATE", 3),
        ("QUEUE_TEMPLATE", "without placeholder"),
        ("QUEUE_TEMPLATE", "{unknown}"),
        ("PROXY_TIMEOUT", "30"),
        ("PROXY_TIMEOUT", float("inf")),
        ("PROXY_MAX_SIZE", 1.5),
        ("PROXY_MAX_SIZE", True),
        ("PROXY_ALLOWED_SCHEMES", "https"),
        ("PROXY_ALLOWED_SCHEMES", ["https", "ftp"]),
        ("PROXY_ALLOWED_SCHEMES", ["HTTPS://"]),
        ("PROXY_ALLOWED_HOSTS", "example.com"),
        ("PROXY_ALLOWED_HOSTS", [1]),
        ("PROXY_ALLOWED_HOSTS", None),
        ("PROXY_REFUSE_PRIVATE", 1),
        ("DO_AUTO_RESET", 1),
        ("AUTO_RESET_INTERVAL", 0),
        ("REDIS_NAME", None),
        ("TASK_LOCK_NAME_TEMPLATE", 4),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(settings, name, value):
    setattr(settings, f"DJANGO_SIMPLETASK2_{name}", value)
    [found] = project.types()
    assert found.id == "simpletask2_celery.E002"
    assert f"DJANGO_SIMPLETASK2_{name} takes" in found.msg
    with pytest.raises(Exception, match=f"DJANGO_SIMPLETASK2_{name} takes"):
        getattr(conf, name.lower())


def test_a_setting_is_read_once_and_again_where_a_test_overrides_it(settings, monkeypatch):
    assert conf.heartbeat == 0
    settings.DJANGO_SIMPLETASK2_HEARTBEAT = 100
    assert conf.heartbeat == 100
    with override_settings(DJANGO_SIMPLETASK2_HEARTBEAT=7.5):
        assert conf.heartbeat == 7.5
    assert conf.heartbeat == 100
    monkeypatch.setattr("simpletask2_celery.conf.settings", object())
    assert conf.heartbeat == 100


def test_every_setting_has_its_line():
    text = (ROOT / "docs/reference/settings.md").read_text()
    for setting in all_settings():
        assert f"`{setting.name.removeprefix('DJANGO_SIMPLETASK2_')}`" in text


def test_a_lease_longer_than_the_visibility_timeout(monkeypatch):
    monkeypatch.setattr(Job, "do_task_timeout", 7200)
    if django_settings.CELERY_BROKER_URL.startswith("redis"):
        found = celery_app.visibility_timeout()
        assert "simpletask2_celery.W003" in ids(found)
        assert "7200" in found[0].msg and "3600" in found[0].msg
    else:
        assert celery_app.visibility_timeout() == []


def test_a_heartbeat_that_comes_too_late(settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_HEARTBEAT = 100
    assert project.heartbeat() == []
    monkeypatch.setattr(Steps, "do_task_timeout", 150)
    [found] = project.heartbeat()
    assert ids([found]) == ["simpletask2_celery.W007"] and "Steps" in found.msg
    settings.DJANGO_SIMPLETASK2_HEARTBEAT = 0
    assert project.heartbeat() == []


def test_the_key_of_the_api(settings):
    settings.DJANGO_SIMPLETASK2_ACLKEY = "a long value of its own"
    assert project.aclkey() == []
    settings.DJANGO_SIMPLETASK2_ACLKEY = settings.SECRET_KEY
    assert ids(project.aclkey()) == ["simpletask2_celery.W004"]
    del settings.DJANGO_SIMPLETASK2_ACLKEY
    [found] = project.aclkey()
    assert settings.SECRET_KEY not in found.msg.replace("DJANGO_SIMPLETASK2", "")


def test_no_policy_for_proxy_requests(settings):
    assert ids(project.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES = ["https"]
    assert ids(project.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["*", "example.com"]
    assert ids(project.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["example.com"]
    assert project.proxy_policy() == []
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = []
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True
    assert project.proxy_policy() == []
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = "of the wrong type: E002"
    assert project.proxy_policy() == []


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (["json"], []),
        ({"application/json"}, []),
        (["json", "pickle"], ["simpletask2_celery.W006"]),
        (["application/x-yaml"], ["simpletask2_celery.W006"]),
        ([], ["simpletask2_celery.W006"]),
    ],
)
def test_an_app_that_accepts_more_than_json(accepted, expected):
    before = current_app.conf.accept_content
    current_app.conf.accept_content = accepted
    try:
        assert ids(celery_app.accepted_content()) == expected
    finally:
        current_app.conf.accept_content = before


@pytest.mark.parametrize(
    ("name", "value"), [("PUBLISH_TO", "both"), ("LEGACY_CHANNELS", ["default"])]
)
def test_lists_need_a_redis_cache(settings, name, value):
    setattr(settings, f"DJANGO_SIMPLETASK2_{name}", value)
    assert project.redis_cache() == []
    settings.DJANGO_SIMPLETASK2_REDIS_NAME = "nowhere"
    [found] = project.redis_cache()
    assert found.id == "simpletask2_celery.E003" and found.hint
    assert isinstance(found, django_checks.Error)


@pytest.mark.parametrize(
    ("use_tz", "zone", "expected"),
    [
        (True, "Europe/Berlin", []),
        (False, "UTC", []),
        (False, "Asia/Shanghai", []),
        (False, "Europe/Berlin", ["simpletask2_celery.W009"]),
        (False, "America/Chicago", ["simpletask2_celery.W009"]),
        (False, "Australia/Lord_Howe", ["simpletask2_celery.W009"]),  # by half an hour
        (False, "Africa/Casablanca", ["simpletask2_celery.W009"]),  # for a month
        (False, "America/Sao_Paulo", []),  # not any more
    ],
)
def test_times_without_a_zone_where_clocks_change(settings, use_tz, zone, expected):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    assert ids(databases.zone()) == expected


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://127.0.0.1:1/3", {}, ["simpletask2_celery.W008"]),
        ("redis://127.0.0.1:1/3", {"set_as_current": False}, []),
        (None, {}, []),
    ],
)
def test_two_celery_apps_with_two_brokers(url, options, expected):
    first = current_app._get_current_object()
    url = url or first.conf.broker_write_url
    second = Celery("second", broker=url, **options)
    try:
        found = celery_app.apps_of_celery()
    finally:
        first.set_current()
        second.close()
    assert ids(found) == expected
    assert not found or "'second'" in found[0].msg


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        ({}, []),
        ({"TENANT_APPS": ["django.contrib.sessions"]}, []),
        ({"TENANT_APPS": ["tests.support.project.jobs"]}, ["simpletask2_celery.E006"]),
        (
            {"TENANT_TYPES": {"a": {"APPS": ["tests.support.project.jobs"]}}},
            ["simpletask2_celery.E006"],
        ),
        ({"TENANT_TYPES": {"public": {"APPS": ["tests.support.project.jobs"]}}}, []),
    ],
)
def test_rows_in_the_schemas_of_tenants(settings, monkeypatch, apps, expected):
    for name, value in apps.items():
        setattr(settings, name, value)
    assert databases.schemas() == []  # another kind of database
    wrapper = type(connections["server"])
    monkeypatch.setattr(wrapper, "set_schema", lambda *_: None, raising=False)
    found = [one for one in databases.schemas() if one.obj is Job]
    assert ids(found) == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DJANGO_SIMPLETASK2_HARTBEAT", "DJANGO_SIMPLETASK2_HEARTBEAT"),
        ("DJANGO_SIMPLETASK2_PUBLISH_TIMEOUTS", "DJANGO_SIMPLETASK2_PUBLISH_TIMEOUT"),
        ("DJANGO_SIMPLETASK_HEARTBEAT", "DJANGO_SIMPLETASK2_HEARTBEAT"),
        ("DJANGO_SIMPLE_TASK2_HEARTBEAT", "DJANGO_SIMPLETASK2_HEARTBEAT"),
        ("SIMPLETASK2_MAX_LOST_RUNS", "DJANGO_SIMPLETASK2_MAX_LOST_RUNS"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest(settings, name, nearest):
    assert project.setting_names() == []
    setattr(settings, name, 20)
    [found] = project.setting_names()
    assert ids([found]) == ["simpletask2_celery.W012"]
    assert found.msg.startswith(f"{name} is no setting") and nearest in found.msg


def test_steps_that_are_to_commit_with_what_they_wrote_need_transactions(monkeypatch):
    """As of MySQL's MyISAM, whose tables the backend asks for."""
    assert durable.transactions(databases=["default", "server"]) == []
    monkeypatch.setattr(connections["default"].features, "supports_transactions", False)
    [found] = durable.transactions(databases=["default", "server"])
    assert ids([found]) == ["simpletask2_celery.E015"] and found.obj is AtomicSteps
    assert "the database 'default' has no transactions" in found.msg
    assert durable.transactions(databases=["server"]) == durable.transactions() == []


def test_only_who_names_a_database_has_it_asked(monkeypatch):
    """As migrate does, and check --database."""
    monkeypatch.setattr(connections["default"].features, "supports_transactions", False)
    registered = django_checks.registry.registry.registered_checks
    [asking] = [one for one in registered if one.__name__ == "transactions"]
    assert asking.tags == (django_checks.Tags.database,)
    found = {one.id for one in django_checks.run_checks(tags=["simpletask2_celery"])}
    assert "simpletask2_celery.E015" not in found
