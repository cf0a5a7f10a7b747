"""Users' projects under mypy and pyright: what the pages show, and a project with types."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.project import BIN
from tests.support.fixtures import ROOT
from tests.support.pages import blocks

TYPED = Path(__file__).parent / "typed"
MYPY = """
[mypy]
plugins = mypy_django_plugin.main
{options}
[mypy-celery.*]
ignore_missing_imports = true
[mypy.plugins.django-stubs]
django_settings_module = proj.settings
"""
CHECKERS = {"mypy": ["."], "basedpyright": ["--pythonpath", sys.executable]}
#: No types are written on the pages, and ``class Meta`` is as Django's pages have it.
AS_THE_PAGES = "check_untyped_defs = true", {"reportIncompatibleVariableOverride": "none"}
STRICT = "strict = true", {"strictListInference": True, "exclude": ["shop/fields.py"]}
PAGES = ["README.md", "docs/learn/models.md", "docs/learn/durable.md", "docs/learn/proxy.md"]
PAGES += ["docs/guides/recipes.md", "docs/guides/testing.md"]


def check(folder, options, rules, checkers=CHECKERS):
    """Check a project, in a folder of its own."""
    (folder / "mypy.ini").write_text(MYPY.format(options=options))
    rules = {"typeCheckingMode": "standard", "reportMissingTypeStubs": "none", **rules}
    (folder / "pyrightconfig.json").write_text(json.dumps(rules))
    for checker in checkers:
        done = run(folder, str(BIN / checker), *CHECKERS[checker])
        assert done.returncode == 0, done.stdout + done.stderr


def run(folder, *command, **environment):
    environment = {"PATH": str(BIN), "HOME": str(folder), **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES)
def test_the_models_of_a_page(page, tmp_path):
    shutil.copytree(TYPED / "proj", tmp_path / "proj")
    of_files = [block for block in blocks(ROOT / page, "python") if block.path]
    files = [file for block in of_files for file in block.files()]
    [path] = {path for path, _ in files if path.endswith("models.py")}
    app = tmp_path / Path(path).parent
    app.mkdir()
    (app / "__init__.py").touch()
    (tmp_path / path).write_text("\n".join(text for name, text in files if name == path))
    with (tmp_path / "proj/settings.py").open("a") as out:
        out.write(f"INSTALLED_APPS = ['simpletask2_celery', '{app.name}']\n")
    check(tmp_path, *AS_THE_PAGES)


@pytest.fixture
def typed(tmp_path):
    return shutil.copytree(TYPED, tmp_path / "typed")


def test_a_project_with_types(typed):
    check(typed, *STRICT)


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_tells_what_is_wrong(checker, typed):
    """A handler that takes no payload, and a row taken for one of another model."""
    with (typed / "shop/models.py").open("a") as out:
        out.write("class Wrong(SimpleTask):\n    def do_task_main(self) -> None: ...\n")
    with (typed / "shop/tests.py").open("a") as out:
        out.write("wrong: Page = run(Hello()).row\n")
    with pytest.raises(AssertionError) as caught:
        check(typed, *STRICT, [checker])
    said = str(caught.value)
    assert '"do_task_main"' in said and '"Page"' in said and "2 errors" in said


def test_the_project_with_types_runs(typed):
    done = run(
        typed, sys.executable, "-m", "django", "test", DJANGO_SETTINGS_MODULE="proj.settings"
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 6 tests" in done.stderr
