"""What a project sees beside its rows: schema, checks, settings, texts, admin."""

import io
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.core import checks as django_checks
from django.core.management import call_command
from django.test import override_settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation.template import templatize

from simpletask2_celery import checks, exceptions
from simpletask2_celery.conf import all_settings, conf
from simpletask2_celery.models import SimpleTask
from tests.fixtures import ROOT, environ, queued
from tests.project.jobs.models import Job, Steps

LOCALE = Path(exceptions.__file__).parent / "locale/zh_Hans/LC_MESSAGES"


# -- schema ------------------------------------------------------------------------


def test_the_columns_are_the_originals():
    fields = {field.name: field for field in SimpleTask._meta.local_fields}
    assert (
        list(fields)
        == (
            "add_time mod_time status start_time current_step step1_time step2_time "
            "step3_time done_time success auto_reset_time"
        ).split()
    )
    assert SimpleTask._meta.abstract


@pytest.mark.django_db(databases=["default", "server"])
def test_no_model_lacks_a_migration():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_a_migration_of_the_original_leaves_nothing_to_do():
    """The file is what makemigrations wrote for these models on 0.1.12's base class."""
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    environment = environ(
        DJANGO_SETTINGS_MODULE="tests.original.settings", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes" in done.stdout


def test_what_the_page_on_reliability_names_exists():
    from tests.faults.scenarios import FAULTS

    pains = (ROOT / "docs/reliability.md").read_text().partition("What users of other")[2]
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", pains)
    assert len(named) >= 10 and all(f"def {name}(" in tests for name in named)
    faults = re.findall(r'"([^"]+)"', pains)
    assert len(faults) >= 8 and set(faults) <= {fault.name for fault in FAULTS.values()}


# -- checks ------------------------------------------------------------------------


def ids(found):
    assert all(message.hint for message in found)
    return [message.id for message in found]


@pytest.mark.django_db(databases=["default", "server"])
def test_a_sound_project_has_nothing_to_hear():
    found = django_checks.run_checks()
    assert [m for m in found if str(m.id).startswith("simpletask2_celery")] == []


def test_final_step_without_its_handler(monkeypatch):
    monkeypatch.setattr(Steps, "final_step", 6)
    found = checks.handlers()
    assert ids(found) == ["simpletask2_celery.E001"] * 2
    assert "do_task_main_step5" in found[0].msg


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
    [found] = checks.types()
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


def test_every_setting_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for setting in all_settings():
        assert f"`{setting.name.removeprefix('DJANGO_SIMPLETASK2_')}`" in text


PROJECT = """
import django
from celery import Celery
from django.conf import settings
settings.configure(INSTALLED_APPS=["simpletask2_celery"], {settings})
{app}
django.setup()
from simpletask2_celery import checks
found = checks.celery_app() + checks.reuse_of_connections()
print([message.id for message in found if message.hint])
"""
APP = "Celery('p').config_from_object('django.conf:settings', namespace='CELERY')"


@pytest.mark.parametrize(
    ("app", "settings", "expected"),
    [
        ("", "", ["simpletask2_celery.W001"]),
        (APP, "", ["simpletask2_celery.W002"]),
        (APP, "CELERY_DB_REUSE_MAX=0", ["simpletask2_celery.W002"]),
        (APP, "CELERY_DB_REUSE_MAX=100", []),
    ],
)
def test_the_celery_app_and_its_connections(app, settings, expected):
    program = PROJECT.format(app=app, settings=settings)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.stdout.strip() == str(expected), done.stderr


def test_a_lease_longer_than_the_visibility_timeout(monkeypatch):
    monkeypatch.setattr(Job, "do_task_timeout", 7200)
    if django_settings.CELERY_BROKER_URL.startswith("redis"):
        found = checks.visibility_timeout()
        assert "simpletask2_celery.W003" in ids(found)
        assert "7200" in found[0].msg and "3600" in found[0].msg
    else:
        assert checks.visibility_timeout() == []


def test_a_heartbeat_that_comes_too_late(settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_HEARTBEAT = 100
    assert checks.heartbeat() == []
    monkeypatch.setattr(Steps, "do_task_timeout", 150)
    [found] = checks.heartbeat()
    assert ids([found]) == ["simpletask2_celery.W007"] and "Steps" in found.msg
    settings.DJANGO_SIMPLETASK2_HEARTBEAT = 0
    assert checks.heartbeat() == []


def test_the_key_of_the_api(settings):
    settings.DJANGO_SIMPLETASK2_ACLKEY = "a long value of its own"
    assert checks.aclkey() == []
    settings.DJANGO_SIMPLETASK2_ACLKEY = settings.SECRET_KEY
    assert ids(checks.aclkey()) == ["simpletask2_celery.W004"]
    del settings.DJANGO_SIMPLETASK2_ACLKEY
    [found] = checks.aclkey()
    assert settings.SECRET_KEY not in found.msg.replace("DJANGO_SIMPLETASK2", "")


def test_no_policy_for_proxy_requests(settings):
    assert ids(checks.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES = ["https"]
    assert ids(checks.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["*", "example.com"]
    assert ids(checks.proxy_policy()) == ["simpletask2_celery.W005"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["example.com"]
    assert checks.proxy_policy() == []
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = []
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True
    assert checks.proxy_policy() == []
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = "of the wrong type: E002"
    assert checks.proxy_policy() == []


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
        assert ids(checks.accepted_content()) == expected
    finally:
        current_app.conf.accept_content = before


@pytest.mark.django_db(databases=["default", "server"])
def test_a_deployment_is_told_of_security_and_nobody_else(settings, monkeypatch):
    del settings.DJANGO_SIMPLETASK2_ACLKEY
    monkeypatch.setattr(checks, "_has_app", lambda: True)
    deploy = django_checks.run_checks(tags=["security"], include_deployment_checks=True)
    ours = [m.id for m in deploy if str(m.id).startswith("simpletask2_celery")]
    # Django keeps the checks in a set: their order is chance.
    assert sorted(ours) == ["simpletask2_celery.W004", "simpletask2_celery.W005"]
    found = [m.id for m in django_checks.run_checks()]
    assert not {*ours} & {*found}


def test_the_ids_of_the_checks_are_unique():
    source = Path(checks.__file__).read_text()
    used = re.findall(r'id="(simpletask2_celery\.\w+)"', source)
    assert sorted(used) == sorted(set(used))


# -- errors and texts ----------------------------------------------------------------


def test_sixteen_codes_in_two_languages():
    assert sorted(exceptions.MESSAGES) == list(range(2910000, 2910016))
    for code, message in exceptions.MESSAGES.items():
        english = str(message)
        with translation.override("zh-hans"):
            chinese = str(message)
        assert chinese != english, code
        assert not chinese.isascii(), code


def test_an_error_pickles():
    error = exceptions.error(exceptions.CLAIMED, task_info="jobs.job:1")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message) == (2910013, error.message)
    assert str(copy) == "2910013: task jobs.job:1 locked by another worker."
    lost = pickle.loads(pickle.dumps(exceptions.claim_lost("jobs.job:1")))
    assert isinstance(lost, exceptions.ClaimLost) and lost.code == 2910014


def test_the_catalogue_is_complete_and_compiled():
    from babel.messages.extract import extract_from_dir
    from babel.messages.mofile import read_mo
    from babel.messages.pofile import read_po

    with (LOCALE / "django.po").open("rb") as source:
        written = texts_of(read_po(source))
    with (LOCALE / "django.mo").open("rb") as compiled:
        assert texts_of(read_mo(compiled)) == written
    assert all(all(strings) for strings in written.values())
    keywords = {"_": None, "translate": None, "gettext_noop": None, "ngettext": (1, 2)}
    folder = LOCALE.parents[2]
    used = {found[2] for found in extract_from_dir(folder, keywords=keywords)}
    for path in folder.rglob("*.html"):
        used |= texts_of_template(path.read_text())
    assert used == set(written)


def texts_of(catalogue):
    """Return {text, or pair of singular and plural: its translations}."""

    def several(value):
        return (value,) if isinstance(value, str) else tuple(value)

    return {
        m.id if isinstance(m.id, str) else tuple(m.id): several(m.string)
        for m in catalogue
        if m.id
    }


def texts_of_template(source):
    """Return what Django's tags translate; it makes Python of a template's words."""
    from babel.messages.extract import extract

    python = io.BytesIO(templatize(source).encode())
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    return {found[1] for found in extract("python", python, keywords=keywords)}


def test_field_names_in_chinese():
    with translation.override("zh-hans"):
        assert str(Job._meta.get_field("status").verbose_name) == "状态"
        assert dict(Job.STATUS)[10] == "就绪"


# -- admin ---------------------------------------------------------------------------


@pytest.fixture
def act(admin_client):
    def run(action, *rows):
        answer = admin_client.post(
            reverse("admin:jobs_job_changelist"),
            {"action": action, "_selected_action": [row.pk for row in rows]},
            follow=True,
        )
        assert answer.status_code == 200
        for row in rows:
            row.refresh_from_db()
        return [str(message) for message in answer.context["messages"]]

    return run


@pytest.mark.django_db(transaction=True)
def test_admin_resets_and_publishes(act):
    rows = [Job.objects.create(status=status) for status in (10, 20, 30)]
    queued()
    assert act("reset_selected_tasks", *rows) == ["3 items have been reset successfully."]
    assert {row.status for row in rows} == {10}
    assert sorted(m["id"] for m in queued()) == sorted(row.pk for row in rows)


@pytest.mark.django_db(transaction=True)
def test_admin_runs_by_force_and_says_what_failed(act):
    rows = [Job.objects.create(status=30), Job.objects.create(what="fail")]
    said = act("force_do_selected_tasks", *rows)
    assert said == ["1 items have been successfully completed.", "1 items failed."]
    assert [row.success for row in rows] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_admin_marks_done(act):
    rows = [Job.objects.create(), Job.objects.create(status=20)]
    act("mark_selected_tasks_done", *rows)
    assert {row.status for row in rows} == {30}
    assert all(row.done_time and row.auto_reset_time is None for row in rows)


@pytest.mark.django_db(transaction=True)
def test_who_may_only_view_has_no_action(client, django_user_model):
    from django.contrib.auth.models import Permission

    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    client.force_login(user)
    row = Job.objects.create()
    page = client.get(reverse("admin:jobs_job_changelist"))
    assert b"mark_selected_tasks_done" not in page.content
    client.post(
        reverse("admin:jobs_job_changelist"),
        {"action": "mark_selected_tasks_done", "_selected_action": [row.pk]},
    )
    row.refresh_from_db()
    assert row.status == 10
