"""What the commands that steer rows share: which rows, and how to work through them.

They work a page at a time, and each page is whole: Ctrl-C is kept until the page is
done, and a second one rolls back what the database is about to do.
"""

import difflib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from django.core.exceptions import (
    EmptyResultSet,
    FieldDoesNotExist,
    FieldError,
    ValidationError,
)
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as translate
from django.utils.translation import ngettext

from .. import exceptions
from ..rows import databases, querysets, task_info
from ..rows.model import Row, task_models

EXAMPLES = 5
EVERY = 5.0  # seconds between two lines about the progress, where it is no terminal
INTERRUPTED = 130  # the exit code of what SIGINT has ended
#: Lookups whose value is one of the field's own.
_PLAIN = {"exact", "in", "range", "lt", "lte", "gt", "gte"}


@dataclass
class Part:
    """The selected rows of a model in one database.

    ``still`` is what can be asked of the table with the state columns alone, once more
    when the rows are locked or updated.
    """

    model: type[Row]
    using: str
    rows: "models.QuerySet[Row]"
    still: Q

    def narrow(self, **values: Any) -> "Part":
        """Return the rows among them whose state columns have these values."""
        still = self.still & Q(**values)
        return Part(self.model, self.using, self.rows.filter(**values), still)

    def __str__(self) -> str:
        return f"{self.model._meta.label_lower} ({self.using})"


class SelectionCommand(BaseCommand):
    """A command for the rows that its arguments select; subclasses say what it does."""

    asks = True
    done = 0

    def add_arguments(self, parser: CommandParser) -> None:
        """Take models, ids, filters, a database, --dry-run and, to confirm, --no-input."""
        parser.description = translate(self.help)
        parser.add_argument("models", nargs="*", metavar="app.Model", help=translate("the models"))
        parser.add_argument(
            "--all-models", action="store_true", help=translate("all models of tasks")
        )
        parser.add_argument(
            "--ids", nargs="+", metavar="ID", help=translate("primary keys of one model")
        )
        parser.add_argument(
            "--filter",
            nargs="+",
            action="extend",
            metavar="FIELD=VALUE",
            help=translate(
                "lookups of Django that must all be true, as status=30 or topic__in=a,b"
            ),
        )
        parser.add_argument(
            "--database",
            choices=tuple(connections),
            help=translate("one database; by default all that hold rows of the model"),
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help=translate("say how many rows it would be, and change nothing"),
        )
        if self.asks:
            parser.add_argument(
                "--no-input",
                "--noinput",
                action="store_false",
                dest="interactive",
                help=translate("ask nothing"),
            )

    # -- what a subclass says ----------------------------------------------------

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the rows to work on. Raises CommandError for bad options."""
        return selected(options)

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Work through the rows; yield how many are done since, wherever it may stop."""
        raise NotImplementedError

    def question(self, count: int) -> str:
        """Return what is asked on a terminal before ``count`` rows are touched."""
        raise NotImplementedError

    def summary(self, count: int) -> str:
        """Return what is said of ``count`` rows that are done."""
        raise NotImplementedError

    # -- the story ---------------------------------------------------------------

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say of how many rows. Exit code 130 after Ctrl-C."""
        self.done = 0
        try:
            self._run(options)
        except KeyboardInterrupt:
            text = translate("Stopped. {summary}").format(summary=self.summary(self.done))
            self.stderr.write(text)
            sys.exit(INTERRUPTED)
        except DatabaseError as error:
            text = translate("The database failed: {error} {summary}")
            done = self.summary(self.done)
            raise CommandError(text.format(error=error, summary=done)) from error

    def _run(self, options: dict[str, Any]) -> None:
        parts = self.parts(options)
        if options["dry_run"]:
            for part in parts:
                self.stdout.write(_preview(part))
            return
        total = sum(part.rows.count() for part in parts)
        if total and self.asks and options["interactive"] and sys.stdin.isatty():
            go_on = translate("Type 'yes' to go on:")
            if input(f"{self.question(total)} {go_on} ") != "yes":
                self.stdout.write(translate("Nothing was changed."))
                return
        if total:
            self._work(parts, total, options)
        self.stdout.write(self.summary(self.done))

    def _work(self, parts: list[Part], total: int, options: dict[str, Any]) -> None:
        with Interrupt() as interrupt, Progress(self.stderr, total) as progress:
            for part in parts:
                for number in self.work(part, options):
                    self.done += number
                    progress.show(self.done)
                    if interrupt.came:
                        raise KeyboardInterrupt


def _preview(part: Part) -> str:
    """Return how many rows a part has, and the names of the first."""
    count = part.rows.count()
    keys = part.rows.order_by("pk").values_list("pk", flat=True)[:EXAMPLES]
    names = ", ".join(task_info.text(part.model, pk) for pk in keys)
    text = ngettext("{part}: {count} row", "{part}: {count} rows", count)
    return text.format(part=part, count=count) + (f": {names}" if names else "")


# -- which rows ---------------------------------------------------------------------


def selected(options: dict[str, Any]) -> list[Part]:
    """Return the rows that the options of a command select, by model and database.

    Raises CommandError for an unknown model, field or lookup, and for a value or a
    primary key that cannot be one.
    """
    found = _models(options["models"], options["all_models"])
    ids = options["ids"]
    if ids and len(found) > 1:
        raise CommandError(translate("--ids takes the primary keys of one model only."))
    parts = []
    for model in found:
        for using in _databases(model, options["database"], ids):
            part = Part(model, using, querysets.own_rows(model, using), Q())
            if ids:
                part = part.narrow(pk__in=[_key(part, each) for each in ids])
            for condition in options["filter"] or ():
                part = _filtered(part, condition)
            parts.append(part)
    return parts


def _models(labels: list[str], all_of_them: bool) -> list[type[Row]]:
    known = {model._meta.label_lower: model for model in task_models()}
    if all_of_them and labels:
        raise CommandError(translate("Name models or give --all-models, not both."))
    if all_of_them:
        return list(known.values())
    if not labels:
        raise CommandError(translate('Name a model, as "app.Model", or give --all-models.'))
    found = dict.fromkeys(label.lower() for label in labels)
    for label in found:
        if label not in known:
            text = translate("There is no model of tasks {name}.").format(name=label)
            raise CommandError(text + _did_you_mean(label, known))
    return [known[label] for label in found]


def _databases(model: type[Row], only: str | None, ids: object) -> list[str]:
    found = databases.that_hold(model)
    if only and only not in found:
        text = translate("Database {database} holds no rows of {model}.")
        raise CommandError(text.format(database=only, model=model._meta.label_lower))
    if ids and not only and len(found) > 1:
        text = translate("Say with --database whose ids these are: {databases}.")
        raise CommandError(text.format(databases=", ".join(found)))
    return [only] if only else found


def _key(part: Part, given: object) -> Any:
    meta = part.model._meta
    try:
        _, _, key = task_info.named_row(Row, meta.app_label, meta.model_name, given, part.using)
    except exceptions.DjangoSimpleTask2Error:
        text = translate("{value} cannot be a primary key of {model}.")
        short = task_info.short(given)
        raise CommandError(text.format(value=short, model=meta.label_lower)) from None
    return key


def _filtered(part: Part, condition: str) -> Part:
    """Return the rows of a part for which ``condition`` is true, "field__lookup=value"."""
    path, equals, value = condition.partition("=")
    if not (path and equals):
        text = translate("--filter takes field=value, not {given}: name models before it.")
        raise CommandError(text.format(given=task_info.short(condition)))
    field, lookups, is_own = _field(part.model, path)
    try:
        where = Q(**{path: _value(field, lookups, value)})
        rows = part.rows.filter(where)
        rows.query.sql_with_params()
    except EmptyResultSet:
        pass  # a number that no such column can hold
    except ValidationError as error:
        raise _bad_filter(condition, " ".join(error.messages)) from None
    except (FieldError, ValueError, TypeError, OverflowError) as error:
        raise _bad_filter(condition, str(error)) from None
    # Only columns of the table that is locked or updated can be asked there again.
    can_ask = is_own and field.model is part.model._meta.get_field("status").model
    return Part(part.model, part.using, rows, part.still & where if can_ask else part.still)


def _bad_filter(condition: str, why: str) -> CommandError:
    text = translate("--filter {given}: {why}")
    return CommandError(text.format(given=task_info.short(condition), why=why))


def _field(model: type[models.Model], path: str) -> tuple[Any, list[str], bool]:
    """Return the field that a path leads to, the lookups after it, and if it is our own."""
    field: Any = None
    at: Any = model
    names = path.split("__")
    followed = -1
    while names and at:
        name = at._meta.pk.name if names[0] == "pk" else names[0]
        try:
            field = at._meta.get_field(name)
        except FieldDoesNotExist:
            if field and (field.get_lookup(name) or field.get_transform(name)):
                break
            raise _no_field(at, name) from None
        if field.one_to_many or field.many_to_many:
            text = translate("{name} leads to many rows; --filter follows one only.")
            raise CommandError(text.format(name=name))
        at = field.related_model if field.is_relation else None
        names.pop(0)
        followed += 1
    return field, names, not followed


def _no_field(model: type[models.Model], name: str) -> CommandError:
    text = translate("{model} has no field {name}.")
    known = [field.name for field in model._meta.get_fields()]
    shown = text.format(model=model._meta.label_lower, name=task_info.short(name))
    return CommandError(shown + _did_you_mean(name, known))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return " " + translate("Did you mean {name}?").format(name=close[0]) if close else ""


def _value(field: Any, lookups: list[str], text: str) -> Any:
    """Return the value of a lookup. Raises what the field does where it cannot be one."""
    last = lookups[-1] if lookups else "exact"
    if last == "isnull":
        return models.BooleanField().to_python(text.capitalize())
    one = _field_value if last in _PLAIN and len(lookups) < 2 else _as_it_is
    if last in ("in", "range"):
        return [one(field, each) for each in text.split(",")]
    return one(field, text)


def _as_it_is(field: Any, text: str) -> str:
    return text


def _field_value(field: Any, text: str) -> Any:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    if not isinstance(field, models.Field):
        return text
    if isinstance(field, models.BooleanField):
        text = text.capitalize()  # false as well as False
    value = field.to_python(text)
    if isinstance(field, models.DateTimeField):
        return aware(value)
    return value


def aware(value: Any) -> Any:
    """Return a time as the columns have it, in the current zone if it names none."""
    if timezone.is_naive(value) and timezone.is_aware(timezone.now()):
        return timezone.make_aware(value)
    return value


# -- working through them -------------------------------------------------------------


class Interrupt:
    """Ctrl-C, kept until the page is done; the second one comes at once."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> Self:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:  # or Python refuses
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *args: object) -> None:
        self.came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Progress:
    """How far it is: a line that is rewritten on a terminal, else one every few seconds."""

    def __init__(self, out: Any, total: int) -> None:
        self._out, self._total = out, total
        self._is_terminal = out.isatty()
        self._shown = time.monotonic()
        self._is_open = False  # a line that has no end yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_open:
            self._out.write("", str)

    def show(self, done: int) -> None:
        """Say that ``done`` rows are done, unless it was said a moment ago."""
        wait = 0.2 if self._is_terminal else EVERY
        if time.monotonic() - self._shown < wait:
            return
        self._shown = time.monotonic()
        text = translate("{done} of {total} rows").format(done=done, total=self._total)
        if self._is_terminal:
            self._out.write(f"\r{text}\x1b[K", str, ending="")
            self._out.flush()
            self._is_open = True
        else:
            self._out.write(text, str)
