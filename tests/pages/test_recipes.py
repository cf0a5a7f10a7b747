"""The recipes on a database server, with four processes that run rows side by side."""

import os
from contextlib import closing

import pytest
from django.db import connections

from simpletask2_celery import tasks
from tests.pages.project import Project
from tests.support.database import RUN, server
from tests.support.fixtures import ROOT

RECIPES = ROOT / "docs/guides/recipes.md"
DURABLE = ROOT / "docs/learn/durable.md"
WORKER = "celery -A proj worker -c 4 -l INFO --without-mingle --without-gossip".split()
NAME = f"{RUN}_recipes"
SETTINGS = """
if {is_mysql}:
    import pymysql

    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()
DATABASES = {{"default": {database!r}}}
"""
#: What the scripts below have in common: they wait until all rows of a model are DONE.
WAITING = """
import time


def wait(model, seconds=60):
    end = time.monotonic() + seconds
    while model.objects.exclude(status=model.DONE).exists():
        assert time.monotonic() < end, [*model.objects.exclude(status=model.DONE).values()]
        time.sleep(0.1)


"""


@pytest.fixture
def database(django_db_blocker):
    """A database of its own on the server, and its settings; it is gone at the end."""
    settings = server(os.environ["TEST_DATABASE_URL"])
    with django_db_blocker.unblock():
        _execute(f"DROP DATABASE IF EXISTS {NAME}", f"CREATE DATABASE {NAME}")
        yield {**settings, "NAME": NAME}
        _execute(f"DROP DATABASE IF EXISTS {NAME}")


def _execute(*statements):
    from django.db.utils import OperationalError

    connection = connections["server"].copy()
    connection.settings_dict = {**connection.settings_dict, "NAME": _first_database()}
    try:
        with closing(connection), connection.cursor() as cursor:
            for statement in statements:
                force = " WITH (FORCE)" if statement.startswith("DROP") else ""
                is_postgresql = connection.vendor == "postgresql"
                cursor.execute(statement + (force if is_postgresql else ""))
    except OperationalError as error:
        raise AssertionError(statements) from error


def _first_database():
    return server(os.environ["TEST_DATABASE_URL"])["NAME"]


@pytest.fixture
def project(tmp_path, broker, running, database):
    """A function that makes the project of a page, with more models, and starts a worker."""

    def make(page, models=""):
        made = Project(tmp_path, broker)
        made.begin(page)
        is_mysql = database["ENGINE"].endswith("mysql")
        made.add("proj/settings.py", SETTINGS.format(database=database, is_mysql=is_mysql))
        if models:
            made.add("shop/models.py", models)
        made.manage(["makemigrations", "shop", "-v", "0"], ["migrate", "-v", "0"])
        running.append(made.start(*WORKER))
        return made

    return make


def run(project, script):
    """Run a script in the project's shell."""
    (project.folder / "typed.py").write_text(f"from shop.models import *\n{WAITING}{script}")
    project.manage(["shell", "-v", "0", "-c", "exec(open('typed.py').read())"])


ONE_AT_A_TIME = """
import itertools

for number in range(8):
    for customer in ("Ada", "Grace"):
        Sync.objects.create(customer=customer)
wait(Sync)
assert Sync.objects.filter(success=True).count() == 16
tries = sum(Sync.objects.values_list("attempts", flat=True))
assert tries > 16, "nobody had to wait: nothing is shown"
together = 0
for customer in ("Ada", "Grace"):
    times = Sync.objects.filter(customer=customer).order_by("began").values_list("began", "ended")
    for (_, ended), (began, _) in itertools.pairwise(times):
        assert ended <= began, times
"""


def test_one_row_at_a_time_runs_for_each_customer(project):
    run(project(RECIPES), ONE_AT_A_TIME)


CONSTRAINED = """
class Once(DurableTask):
    customer = models.CharField(max_length=20)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=models.Q(status=20), name="once_a_customer"
            )
        ]

    def do_task_main(self, payload):
        time.sleep(3)
"""
REFUSED = """
rows = [Once.objects.create(customer="Ada") for _ in range(2)]
end = time.monotonic() + 30
while not Once.objects.filter(status=Once.DONE).exists():
    assert time.monotonic() < end
    time.sleep(0.1)
assert sorted(Once.objects.values_list("status", "attempts")) == [(10, 0), (30, 1)]
"""


def test_a_partial_unique_constraint_refuses_the_claim(project, database):
    if database["ENGINE"].endswith("mysql"):
        pytest.skip("MySQL and MariaDB have no partial unique constraints")
    made = project(RECIPES, CONSTRAINED)
    run(made, REFUSED)
    assert "IntegrityError" in made.log.read_text()


FANNED = """
albums = [Album.objects.create(photos=20) for _ in range(5)]
wait(Album)
wait(Photo)
wait(Book)
assert Photo.objects.filter(success=True).count() == 100
assert sorted(Book.objects.values_list("album_id", flat=True)) == [album.pk for album in albums]
assert set(Book.objects.values_list("album__left", flat=True)) == {0}
"""


def test_the_last_photo_of_each_album_makes_its_book(project):
    run(project(RECIPES), FANNED)


SECRETS = """
Charge.objects.create(card="4111111111111111")
wait(Charge)
"""


def test_the_log_of_the_worker_has_no_more_than_the_errors_have(project):
    made = project(RECIPES)
    run(made, SECRETS)
    log = made.log.read_text()
    assert "BankRefused: ConnectionError" in log
    assert "4111" not in log and "word@" not in log


NIGHTLY = """
import datetime

from celery import current_app
from django.conf import settings

[entry] = settings.CELERY_BEAT_SCHEDULE.values()
for _ in range(2):  # as two beats do
    current_app.send_task(entry["task"], kwargs=entry["kwargs"])
end = time.monotonic() + 30
while not Nightly.objects.exists():
    assert time.monotonic() < end
    time.sleep(0.1)
time.sleep(1)
wait(Nightly)
assert Nightly.objects.get().success
"""


@pytest.mark.skipif(not hasattr(tasks, "create"), reason="there is no task that makes rows")
def test_beats_entry_makes_one_row_a_night(project):
    run(project(RECIPES), NIGHTLY)


PRUNED = """
import datetime

from django.utils import timezone
from simpletask2_celery.tasks import do_prune

rows = [Ping.objects.create() for _ in range(2)]
wait(Ping)
old = timezone.now() - datetime.timedelta(days=31)
Ping.objects.filter(pk=rows[0].pk).update(done_time=old)
do_prune.delay()
end = time.monotonic() + 30
while Ping.objects.count() > 1:
    assert time.monotonic() < end
    time.sleep(0.1)
assert Ping.objects.get() == rows[1]
"""


@pytest.mark.skipif(not hasattr(tasks, "do_prune"), reason="there is no task that deletes rows")
def test_old_rows_are_deleted(project):
    run(project(RECIPES), PRUNED)


PAID = """
payment = Payment.objects.create(order="A-1")
wait(Payment)
payment.refresh_from_db()
assert payment.worker.startswith("celery@") and len(payment.celery_id) == 36
assert {error["worker"] for error in payment.errors} == {payment.worker}
"""


def test_celerys_log_says_retry_and_the_row_says_who_ran_it(project):
    made = project(DURABLE)
    run(made, PAID)
    log = made.log.read_text()
    assert log.count("retry: Retry at ") == 2
    assert "Traceback" not in log.partition("retry: Retry at ")[0]
