"""The Python of a page, in a project that has the quickstart's Celery files."""

from pathlib import Path

import pytest

from tests.pages.project import PYTEST, QUICKSTART, Project
from tests.support import sites
from tests.support.pages import PAGES, blocks

WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page != QUICKSTART]
#: There is no other worker to wait for, or to hear of.
WORKER = "celery -A proj worker -c 2 -Q celery,simpletask2.mail".split()
ALONE = ["--without-mingle", "--without-gossip"]
CHECK = ["check", "--fail-level", "WARNING"]
SHELL = ["shell", "-v", "0", "-c", "exec(open('typed.py').read())"]
TYPED = """
import time
from datetime import timedelta

from django.utils import timezone

from simpletask2_celery.recovery.auto_reset import task_models


def _is_delayed(row):
    wait = timedelta(seconds=row.task_wait_timeout + 5)
    time_of_reset = row.auto_reset_time or timezone.now()
    return row.status == row.READY and time_of_reset > timezone.now() + wait


def _settle():
    end = time.monotonic() + 30
    rows = [row for model in task_models() for row in model.objects.exclude(status=30)]
    while any(not _is_delayed(row) for row in rows):
        assert time.monotonic() < end, rows
        time.sleep(0.1)
        rows = [row for model in task_models() for row in model.objects.exclude(status=30)]


"""


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_python_of_a_page(page, tmp_path, broker, running):
    with sites.serving() as site:
        project = Project(tmp_path, broker, f"http://127.0.0.1:{site.server_port}")
        typed = project.begin(page)
        if typed:  # its rows wait for this worker, which starts meanwhile
            running.append(project.start(*WORKER, *ALONE))
        project.manage(*steps(project, typed))


def steps(project, typed):
    """Yield the commands that show that the page's Python works."""
    yield CHECK
    for settings in project.other_settings():
        yield [*CHECK, "--settings", settings]
    yield ["makemigrations", *project.apps(), "-v", "0"]
    yield ["migrate", "-v", "0"]
    if typed:
        text = TYPED + "_settle()\n".join([*typed, ""])
        (project.folder / "typed.py").write_text(text)
        yield SHELL
    if any(Path(path).name.startswith("test") for path in project.files):
        yield [*PYTEST, "--ds=proj.settings"]
