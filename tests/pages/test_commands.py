"""The commands of the pages are there, and no block is in a language of no test."""

import pytest

from tests.pages import commands
from tests.support.pages import PAGES, blocks

LANGUAGES = {"", "shell", "python", "text", "yaml", "ini", "dockerfile"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
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
