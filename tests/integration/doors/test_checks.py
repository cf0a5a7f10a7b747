"""What a project sees beside its rows: schema, checks, settings, texts, admin."""

import subprocess
import sys

import pytest
from django.core import checks as django_checks
from django.core.management import call_command

from simpletask2_celery import checks
from tests.support.fixtures import ROOT, environ

# -- schema ------------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "server"])
def test_no_model_lacks_a_migration():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_a_migration_of_the_original_leaves_nothing_to_do():
    """The file is what makemigrations wrote for these models on 0.1.12's base class."""
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    environment = environ(
        DJANGO_SETTINGS_MODULE="tests.support.original.settings", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes" in done.stdout


# -- checks ------------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "server"])
def test_a_sound_project_has_nothing_to_hear():
    found = django_checks.run_checks()
    assert [m for m in found if str(m.id).startswith("simpletask2_celery")] == []


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


@pytest.mark.parametrize("name", ["AUTO_RESET_INTERVAL", "DO_AUTO_RESET", "SHORTCUTS"])
def test_a_wrong_setting_is_named_by_the_check_and_not_by_a_traceback(name):
    setting = f"DJANGO_SIMPLETASK2_{name}"
    program = (
        f"from django.conf import settings\n"
        f"settings.configure(INSTALLED_APPS=['simpletask2_celery'], {setting}='often')\n"
        f"from celery import Celery\nCelery('p').finalize()\n"
        f"from django.core.management import execute_from_command_line as run\n"
        f"run(['manage.py', 'check'])\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"(simpletask2_celery.E002) {setting} takes" in done.stderr


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


# -- errors and texts ----------------------------------------------------------------


# -- admin ---------------------------------------------------------------------------
