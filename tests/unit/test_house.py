"""The package as a house: doors, rooms that say what is in them, and what nobody reaches for."""

import ast
import importlib

import pytest

from tests.support.fixtures import ROOT

PACKAGE = ROOT / "simpletask2_celery"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = ["rows", "publishing", "running", "recovery", "fast", "watching", "checks"]
ROOMS += ["admin", "legacy", "models", "django_tasks"]

#: What the documents import, by module.
PUBLIC = {
    "actions": [
        "cancel_selected_tasks",
        "force_do_selected_tasks",
        "mark_selected_tasks_done",
        "publish_selected_tasks",
        "reset_selected_tasks",
        "retry_selected_tasks",
        "stop_selected_tasks",
    ],
    "admin": ["SimpleTaskAdmin", "SimpleTaskAdminMixin"],
    "config_file": ["ConfigFileError", "load"],
    "django_tasks": ["CeleryBackend", "durable"],
    "egress": ["app", "fetch"],
    "exceptions": ["ClaimLost", "DjangoSimpleTask2Error", "MESSAGES"],
    "figures": ["Bucket", "Counts", "Figures", "ModelFigures", "Times", "read"],
    "health": ["Finding", "check"],
    "indexes": ["AutoResetIndex", "HistoryIndex"],
    "metrics": ["connect", "registry", "view"],
    "models": ["DurableTask", "SimpleTask"],
    "pytest_plugin": ["simpletask2_published", "simpletask2_run"],
    "signals": [
        "LEASE_OVER",
        "MESSAGE_LOST",
        "OPERATOR",
        "RUN_LOST",
        "step_finished",
        "task_cancelled",
        "task_finished",
        "task_published",
        "task_reset",
        "task_retried",
        "task_started",
    ],
    "tasks": ["create", "do_auto_reset", "do_prune", "do_task", "go_on"],
    "testing": [
        *("Answer", "Published", "PublishedMessage", "Run", "Unanswered"),
        *("answering", "published", "run"),
    ],
    "urls": ["urlpatterns"],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_what_the_documents_import_is_there(module):
    found = importlib.import_module(f"simpletask2_celery.{module}")
    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []


def test_the_top_level_has_doors_alone():
    doors = {path.stem for path in PACKAGE.glob("*.py")}
    assert len(doors) <= 18
    assert doors == {*PUBLIC, "__init__", "apps", "conf"} - {"admin", "django_tasks", "models"}


@pytest.mark.parametrize("room", [*ROOMS, "running/proxy"])
def test_a_room_says_what_is_in_it(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    files = [path.stem for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__"]
    assert [name for name in files if f"``{name}``" not in text] == []


def names_of(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_functions_and_files_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions) and node.end_lineno - node.lineno >= 40
    }
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_nobody_reaches_for_private_names_of_another_module(path):
    tree = ast.parse(path.read_text())
    imports = [
        (node, alias)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]
    private = [alias.name for _, alias in imports if is_private(alias.name)]
    modules = {alias.asname or alias.name for _, alias in imports}
    private += [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
        and is_private(node.attr)
    ]
    assert private == []


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize(("name", "home"), [("_fence", "fence"), ("_seen", "seen")])
def test_what_a_run_and_a_save_know_is_touched_in_one_file(name, home):
    touching = {
        names_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Constant) and node.value == name)
    }
    assert touching == {f"rows/{home}.py"}


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_a_logger_has_the_name_of_its_module(path):
    names = {
        ast.unparse(node.args[0])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger"
    }
    others = {"_name"} if names_of(path) == "running/proxy/masking.py" else set()  # of urllib3
    assert names <= {"__name__", "signals.__name__"} | others
