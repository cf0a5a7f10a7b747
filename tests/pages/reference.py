"""Write docs/reference/reference.md: ``python -m tests.pages.reference``.

The text is that of the docstrings. ``MODULES`` has a line for each module: its heading, and
the names that are for users. A class is shown with the methods that it inherits from the
package's own classes, unless the page has an entry for such a class.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from functools import cache

from tests.support.fixtures import ROOT

PAGE = ROOT / "docs/reference/reference.md"
#: Heading, module, and its names; None for all that it defines and does not hide.
MODULES = [
    ("Models", "models", ["SimpleTask", "DurableTask"]),
    ("Django's Tasks", "django_tasks", ["CeleryBackend", "durable"]),
    ("The admin", "admin", ["SimpleTaskAdmin", "SimpleTaskAdminMixin"]),
    (
        "Admin actions",
        "actions",
        [
            "publish_selected_tasks",
            "reset_selected_tasks",
            "stop_selected_tasks",
            "mark_selected_tasks_done",
            "force_do_selected_tasks",
        ],
    ),
    (
        "Figures",
        "figures",
        ["read", "Figures", "ModelFigures", "Counts", "Bucket", "Times"],
    ),
    ("Metrics", "metrics", ["connect", "registry", "view"]),
    ("Testing", "testing", ["run", "Run", "published", "Published", "Answer"]),
    ("Health", "health", None),
    ("The old server's file", "config_file", ["load", "ConfigFileError"]),
    ("Errors", "exceptions", ["DjangoSimpleTask2Error", "ClaimLost"]),
]
_SECTIONS = re.compile(r"sections? [\d, –and]+ of the\s+compatibility page")
#: Tasks of Celery, which messages and ``task_routes`` name.
TASKS = ["do_task", "do_auto_reset", "do_prune", "create"]
HEAD = """# Reference

For developers who look up a name: the public classes and functions, Celery tasks, settings,
commands and error codes. The text is that of the docstrings, collected by
`python -m tests.pages.reference`. Times are in seconds, sizes in bytes.

"""


def text():
    """Return the page as it should be."""
    parts = [HEAD]
    parts += [_module(*line) for line in MODULES]
    parts += [_tasks(), _settings(), _checks(), _commands(), _command_line(), _codes()]
    return "\n".join(part.strip() + "\n" for part in parts)


# -- modules ------------------------------------------------------------------------


def _module(heading, name, names):
    module = importlib.import_module(f"simpletask2_celery.{name}")
    if names is None:
        names = [n for n, it in vars(module).items() if _is_defined_in(module, n, it)]
    summary = _words(module.__doc__).partition("\n\n")[0]
    parts = [f"## {heading}", f"`{module.__name__}`: {summary}"]
    for each in names:
        parts.append(_entry(each, getattr(module, each)))
    return "\n\n".join(parts)


def _is_defined_in(module, name, item):
    is_code = inspect.isclass(item) or inspect.isfunction(item)
    return is_code and not name.startswith("_") and item.__module__ == module.__name__


def _entry(name, item):
    if not inspect.isclass(item):
        return f"### {name}\n\n{_signature(item)}\n\n{_words(item.__doc__)}"
    parts = [f"### {name}", _words(item.__doc__)]
    if dataclasses.is_dataclass(item):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(item))
        parts.append(f"Fields: {fields}.")
    for method, member in _members(item).items():
        code = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(code) and not method.startswith("_") and code.__doc__:
            kind = next((k for k in (classmethod, property) if isinstance(member, k)), None)
            note = f" *({kind.__name__})*" if kind else ""
            parts.append(f"#### {name}.{method}{note}")
            parts += [_signature(code)] * (kind is not property) + [_words(code.__doc__)]
    return "\n\n".join(parts)


def _members(item):
    """Return a class's own attributes, then those of bases that the page does not show."""
    members = {}
    for base in item.__mro__:
        is_ours = base.__module__.startswith("simpletask2_celery")
        if base is item or (is_ours and base not in _classes()):
            members = {**members, **{k: v for k, v in vars(base).items() if k not in members}}
    return members


@cache
def _classes():
    """Return the classes that have an entry of their own."""
    modules = [(importlib.import_module(f"simpletask2_celery.{m}"), n) for _, m, n in MODULES]
    return [getattr(module, name) for module, names in modules for name in names or ()]


def _signature(function):
    """Return the signature as it is in the source, whatever Python reads it."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    arguments = [one for one in node.args.args if one.arg not in ("self", "cls")]
    node.args.args = arguments
    for one in [*arguments, *node.args.kwonlyargs]:
        if isinstance(one.annotation, ast.Constant):  # quoted in the source
            one.annotation = ast.parse(one.annotation.value, mode="eval").body
    returns = node.returns.value if isinstance(node.returns, ast.Constant) else None
    arrow = f" -> {returns or ast.unparse(node.returns)}" if node.returns else ""
    return f"`{node.name}({ast.unparse(node.args)}){arrow}`"


def _words(docstring):
    """Return a docstring as Markdown, with links to the compatibility page."""
    text = _SECTIONS.sub(r"[\g<0>](compatibility.md)", inspect.cleandoc(docstring or ""))
    return re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text).replace("``", "`")


# -- tables -------------------------------------------------------------------------


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in r] for r in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _tasks():
    from simpletask2_celery import tasks

    rows = [(f"`{t.name}`", _words(t.__doc__)) for t in (getattr(tasks, n) for n in TASKS)]
    return "## Celery tasks\n\n" + _table(["name", "what it does"], rows)


def _settings():
    from simpletask2_celery.conf import all_settings

    rows = [
        (f"`{one.name}`", f"`{one.fallback or repr(one.default)}`", one.takes)
        for one in all_settings()
    ]
    text = "What each is for is on the page [settings](settings.md).\n\n"
    return "## Settings\n\n" + text + _table(["setting", "default", "takes"], rows)


def _checks():
    return "## Checks\n\nThey have [a page of their own](checks.md)."


def _commands():
    from django.core.management import get_commands, load_command_class
    from django.core.management.base import DjangoHelpFormatter

    parts = ["## Commands of manage.py"]
    for name, app in sorted(get_commands().items()):
        if name.startswith("simpletask2_"):
            command = load_command_class(app, name)
            parser = command.create_parser("manage.py", name)
            shown = DjangoHelpFormatter.show_last
            own = [a for a in parser._actions if not {*a.option_strings} & {*shown, "-h"}]
            rows = [
                (f"`{', '.join(a.option_strings) or a.metavar or a.dest}`", a.help or "")
                for a in own
            ]
            parts += [f"### {name}", _words(command.help)]
            parts += [_table(["option", "what it does"], rows)] if rows else []
    return "\n\n".join(parts)


def _command_line():
    from simpletask2_celery.legacy.cli import main

    parts = ["## The command simpletask2-celery", _words(main.help)]
    commands = [c for c in main.commands.values() if not c.hidden]
    parts.append(_table(["command", "what it does"], [(f"`{c.name}`", c.help) for c in commands]))
    options = [(main, "")] + [(c, f"{c.name} ") for c in commands]
    rows = [
        (f"`{before}{', '.join([*p.opts, *p.secondary_opts])}`", p.help)
        for command, before in options
        for p in command.params
    ]
    return "\n\n".join([*parts, _table(["option", "what it does"], rows)])


def _codes():
    from simpletask2_celery import exceptions

    names = {code: name for name, code in vars(exceptions).items() if type(code) is int}
    rows = [(code, f"`{names[code]}`", message) for code, message in exceptions.MESSAGES.items()]
    page = "../operate/troubleshooting.md#error-codes"
    text = f"Causes and remedies: [troubleshooting]({page}).\n\n"
    return "## Error codes\n\n" + text + _table(["code", "name", "message"], rows)


if __name__ == "__main__":
    import django
    from django.conf import settings

    parts = ("admin", "auth", "contenttypes", "messages", "sessions")
    apps = [*(f"django.contrib.{part}" for part in parts), "simpletask2_celery"]
    settings.configure(INSTALLED_APPS=apps, SECRET_KEY="reference")
    django.setup()
    PAGE.write_text(text())
