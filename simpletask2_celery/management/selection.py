"""What the commands that steer rows share: which rows, and how to work through them.

Ctrl-C waits for the end of a page of rows. A second one does not: the database rolls
that page back.
"""

import datetime
import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, FieldError, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections, models
from django.db.models import Q
from django.utils.translation import gettext as translate
from django.utils.translation import ngettext

from .. import exceptions
from ..rows import clock, databases, lookup, querysets, task_info
from ..rows.model import Row, task_models
from .terminal import INTERRUPTED, Interrupt, progress

#: Lookups whose value is one of the field's own.
_COMPARISONS = {"exact", "lt", "lte", "gt", "gte"}


@dataclass
class Part:
    """The selected rows of a model in one database.

    ``still`` is the part of the selection that needs only the table with the state columns.
    It is asked again when the rows are locked or updated.
    """

    model: type[Row]
    using: str
    rows: "models.QuerySet[Row]"
    still: Q

    def narrow(self, **values: Any) -> "Part":
        """Return those of the rows whose state columns have these values."""
        still = self.still & Q(**values)
        return Part(self.model, self.using, self.rows.filter(**values), still)


class SelectionCommand(BaseCommand):
    """A command for the rows that its arguments select; subclasses say what it does."""

    #: What is asked at a terminal before any row is changed; None for nothing.
    question: Any = None
    #: How many rows are done; like the question an ``ngettext_lazy`` with a {count}.
    summary: Any
    done = 0

    def add_arguments(self, parser: CommandParser) -> None:
        """Take models, ids, filters, a database, --dry-run and, to confirm, --no-input."""
        parser.description = translate(self.help)
        add = parser.add_argument
        add("models", nargs="*", metavar="app.Model", help=translate("the models"))
        add("--all-models", action="store_true", help=translate("all models of tasks"))
        add("--ids", nargs="+", metavar="ID", help=translate("primary keys of one model"))
        text = translate("lookups of Django that must all be true, as status=30 or topic__in=a,b")
        add("--filter", nargs="+", action="extend", metavar="FIELD=VALUE", help=text)
        text = translate("one database; by default all that hold rows of the model")
        add("--database", choices=tuple(connections), help=text)
        text = translate("say how many rows it would be, and change nothing")
        add("--dry-run", action="store_true", help=text)
        if self.question:
            names, text = ("--no-input", "--noinput"), translate("ask nothing")
            add(*names, action="store_false", dest="interactive", help=text)

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the rows that the options select, by model and database.

        Raises CommandError for an unknown model, field or lookup, and for a value or a
        primary key that cannot be one.
        """
        chosen, ids = _models(options["models"], options["all_models"]), options["ids"]
        if ids and len(chosen) > 1:
            raise CommandError(translate("--ids takes the primary keys of one model only."))
        parts = []
        for model in chosen:
            for using in _databases(model, options["database"], ids):
                part = Part(model, using, querysets.own_rows(model, using), Q())
                if ids:
                    part = part.narrow(pk__in=[_key(part, each) for each in ids])
                for condition in options["filter"] or ():
                    part = _filtered(part, condition)
                parts.append(part)
        return parts

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Work through the rows; yield the number of each page, after which it may stop."""
        raise NotImplementedError

    def result(self) -> str:
        """Return the sentence about the rows that are done."""
        return str(self.summary.format(count=self.done))

    def handle(self, *args: Any, **options: Any) -> None:
        """Work through the rows and say how many there were. Exit code 130 after Ctrl-C."""
        self.done = 0
        try:
            self._run(options)
        except KeyboardInterrupt:
            self.stderr.write(translate("Stopped. {summary}").format(summary=self.result()))
            sys.exit(INTERRUPTED)
        except DatabaseError as error:
            text = translate("The database failed: {error} {summary}")
            raise CommandError(text.format(error=error, summary=self.result())) from error

    def _run(self, options: dict[str, Any]) -> None:
        parts = self.parts(options)
        if options["dry_run"]:
            for part in parts:
                self.stdout.write(_preview(part))
            return
        total = sum(part.rows.count() for part in parts)
        if total and self.question and options["interactive"] and sys.stdin.isatty():
            go_on = translate("Type 'yes' to go on:")
            if input(f"{self.question.format(count=total)} {go_on} ") != "yes":
                self.stdout.write(translate("Nothing was changed."))
                return
        with Interrupt() as interrupt, progress(self.stderr, total) as show:
            for part in parts if total else ():
                for number in self.work(part, options):
                    self.done += number
                    show(self.done)
                    if interrupt.came:
                        raise KeyboardInterrupt
        self.stdout.write(self.result())


def _preview(part: Part) -> str:
    """Return how many rows a part has, and the names of the first."""
    count = part.rows.count()
    keys = part.rows.order_by("pk").values_list("pk", flat=True)[:5]
    names = ", ".join(task_info.text(part.model, pk) for pk in keys)
    text = ngettext("{part}: {count} row", "{part}: {count} rows", count)
    name = f"{part.model._meta.label_lower} ({part.using})"
    return text.format(part=name, count=count) + (f": {names}" if names else "")


def _models(labels: list[str], all_of_them: bool) -> list[type[Row]]:
    by_label = {model._meta.label_lower: model for model in task_models()}
    if all_of_them and labels:
        raise CommandError(translate("Name models or give --all-models, not both."))
    if all_of_them:
        return list(by_label.values())
    if not labels:
        raise CommandError(translate('Name a model, as "app.Model", or give --all-models.'))
    labels = list(dict.fromkeys(label.lower() for label in labels))
    for label in labels:
        if label not in by_label:
            text = translate("There is no model of tasks {name}.").format(name=label)
            raise CommandError(text + _did_you_mean(label, by_label))
    return [by_label[label] for label in labels]


def _databases(model: type[Row], only: str | None, ids: object) -> list[str]:
    aliases = databases.that_hold(model)
    if only and only not in aliases:
        text = translate("Database {database} holds no rows of {model}.")
        raise CommandError(text.format(database=only, model=model._meta.label_lower))
    if ids and not only and len(aliases) > 1:
        text = translate("Say with --database whose ids these are: {databases}.")
        raise CommandError(text.format(databases=", ".join(aliases)))
    return [only] if only else aliases


def _key(part: Part, text: str) -> Any:
    meta = part.model._meta
    try:
        return lookup.named_row(meta.app_label, meta.model_name, text, part.using)[2]
    except exceptions.DjangoSimpleTask2Error:
        message = translate("{value} cannot be a primary key of {model}.")
        short = task_info.short(text)
        raise CommandError(message.format(value=short, model=meta.label_lower)) from None


def _filtered(part: Part, condition: str) -> Part:
    """Return the rows of a part for which ``condition`` is true, "field__lookup=value"."""
    path, equals, value = condition.partition("=")
    if not (path and equals):
        text = translate("--filter takes field=value, not {given}: name models before it.")
        raise CommandError(text.format(given=task_info.short(condition)))
    field, lookups = _field(part.model, path)
    try:
        where = Q(**{path: _value(field, lookups, value)})
        rows = part.rows.filter(where)
        with suppress(EmptyResultSet):  # a number that no such column can hold
            rows.query.sql_with_params()
    except (FieldError, ValidationError, ValueError, TypeError, OverflowError) as error:
        text, short = translate("--filter {given}: {why}"), task_info.short(condition)
        why = " ".join(getattr(error, "messages", [str(error)]))
        raise CommandError(text.format(given=short, why=why)) from None
    # Only conditions on the table with the state columns can be asked again there.
    is_own = path.count("__") == len(lookups)
    can_ask = is_own and field.model is part.model._meta.get_field("status").model
    return Part(part.model, part.using, rows, part.still & where if can_ask else part.still)


def _field(model: type[models.Model], path: str) -> tuple[Any, list[str]]:
    """Return the field that a path leads to, and the lookups after it. Raises CommandError."""
    field: Any = None
    at: Any = model
    names = path.split("__")
    while names and at:
        name = at._meta.pk.name if names[0] == "pk" else names[0]
        try:
            field = at._meta.get_field(name)
        except FieldDoesNotExist:
            if field and (field.get_lookup(name) or field.get_transform(name)):
                break
            # Django would take it for a lookup.
            text = translate("{model} has no field {name}.")
            text = text.format(model=at._meta.label_lower, name=task_info.short(name))
            fields = [each.name for each in at._meta.get_fields()]
            raise CommandError(text + _did_you_mean(name, fields)) from None
        if field.one_to_many or field.many_to_many:  # which would select a row many times
            text = translate("{name} leads to many rows; --filter follows one only.")
            raise CommandError(text.format(name=name))
        at = field.related_model
        names.pop(0)
    return field, names


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return " " + translate("Did you mean {name}?").format(name=close[0]) if close else ""


def _value(field: Any, lookups: list[str], text: str) -> Any:
    """Return the value of a lookup. Raises what the field does where it cannot be one."""
    *before, last = lookups or ["exact"]
    if last == "isnull":
        return models.BooleanField().to_python(text.capitalize())
    if last in ("in", "range"):
        return [_value(field, before, each) for each in text.split(",")]
    field = querysets.target_field(field)
    if before or last not in _COMPARISONS or not isinstance(field, models.Field):
        return text  # which Django converts
    if isinstance(field, models.BooleanField):
        text = text.capitalize()  # false as well as False
    value = field.to_python(text)
    return clock.stored(value) if isinstance(value, datetime.datetime) else value
