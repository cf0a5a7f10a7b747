"""Django's tests, fetched as they were published, and their models given another base."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import django
from django.db import models

HERE = Path(__file__).parent

APPS = """
admin_views async basic bulk_create composite_pk constraints contenttypes_tests
custom_columns custom_pk defer defer_regress delete expressions field_defaults fixtures
force_insert_update from_db_value generic_relations get_or_create known_related_objects
m2m_signals many_to_one model_fields model_forms model_inheritance
model_inheritance_regress model_regress multiple_database one_to_one
order_with_respect_to proxy_models queryset_pickle raw_query save_delete_hooks
select_for_update serializers signals transaction_hooks transactions update
update_only_fields
""".split()

#: Models that keep Django's base, and why.
LEFT = {
    "proxy_models.ManagerMixin": "an abstract base of a proxy: Django allows no fields",
    "model_inheritance_regress.ParkingLot4": "an abstract base beside another task",
    "model_inheritance_regress.Politician": "the second concrete parent of a model",
}

#: Names of these tests that are names of the library, too: (glob, pattern, replacement).
RENAMED = [
    ("{proxy_models,model_regress,model_forms}/**/*.py", r"\bstatus\b", "ustatus"),
    ("{proxy_models,model_regress,model_forms}/**/*.json", r"\bstatus\b", "ustatus"),
    (
        "{proxy_models,model_regress,model_forms}/**/*.py",
        r"get_status_display",
        "get_ustatus_display",
    ),
    ("model_forms/tests.py", r"Status:", "Ustatus:"),
    ("expressions/**/*.py", r"(?<![Ss]lice )\bstart\b", "begun"),
    ("expressions/**/*.py", r"__start(?=\b|__)", "__begun"),
    ("expressions/**/*.py", r"\bstart__", "begun__"),
]


def fetch(folder):
    """Return the folder of the tests of the Django that is installed."""
    version = django.get_version()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), f"django=={version}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    [archive] = folder.glob(f"*jango-{version}.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    [unpacked] = folder.glob(f"*jango-{version}")
    return unpacked / "tests"


def give_base(tests, folder, base):
    """Copy the tests, with the models' base class from the module ``base``."""
    shutil.copytree(tests, folder)
    for module in ("outside", "inside"):
        shutil.copy(HERE / f"{module}.py", folder)
    (folder / "taskbase.py").write_text(f"from {base} import TaskBase as TaskBase\n")
    for pattern, found, replacement in RENAMED:
        for path in _matching(folder, pattern):
            path.write_text(re.sub(found, replacement, path.read_text()))
    runner = folder / "runtests.py"
    app = '    "django.contrib.staticfiles",\n'
    text = runner.read_text()
    assert text.count(app) == 1
    runner.write_text(text.replace(app, f'{app}    "simpletask2_celery",\n'))
    replaced = sum(
        _replace_bases(name, path)
        for name in APPS
        for path in [
            folder / name / "models.py",
            *sorted(folder.glob(f"{name}/models/*.py")),
        ]
        if path.exists()
    )
    assert replaced > 300, replaced


def _matching(folder, pattern):
    names, _, rest = pattern.removeprefix("{").partition("}")
    if not rest:
        return folder.glob(pattern)
    return [path for name in names.split(",") for path in folder.glob(name + rest)]


def _replace_bases(app, path):
    """Let the models of a module have another base class; return how many it were."""
    source = path.read_bytes()
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    edits = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not _is_left(app, node):
            for base in [base for base in node.bases if _is_model(base)][:1]:
                begin = starts[base.lineno - 1] + base.col_offset
                end = starts[base.end_lineno - 1] + base.end_col_offset
                edits.append((begin, end, b"TaskBase"))
    if edits:
        imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        after = starts[imports[-1].end_lineno]
        edits.append((after, after, b"from taskbase import TaskBase\n"))
    for begin, end, text in sorted(edits, reverse=True):
        source = source[:begin] + text + source[end:]
    path.write_bytes(source)
    return max(0, len(edits) - 1)


def _is_model(base):
    if isinstance(base, ast.Attribute):
        return base.attr == "Model" and getattr(base.value, "id", "") == "models"
    return isinstance(base, ast.Name) and base.id == "Model"


def _is_left(app, node):
    """Tell whether a model cannot be a task: it has one of its names, or no table."""
    from simpletask2_celery.models import SimpleTask

    taken = {*dir(SimpleTask), *(field.name for field in SimpleTask._meta.local_fields)}
    taken -= {*dir(models.Model), "Meta"}
    names = {getattr(one, "name", None) for one in node.body}
    names |= {
        target.id
        for one in node.body
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    meta = [one for one in node.body if getattr(one, "name", None) == "Meta"]
    settings = {
        getattr(one.targets[0], "id", None)
        for one in (meta[0].body if meta else ())
        if isinstance(one, ast.Assign)
    }
    return f"{app}.{node.name}" in LEFT or names & taken or "managed" in settings
