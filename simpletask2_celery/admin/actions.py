"""The admin's actions: the original's three, publish again, and stop; retry now and cancel.

Each asks before it acts on more than a few rows, changes a page of rows by one query,
says how many it changed and left alone, and writes its work to the admin's log.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from celery.exceptions import Retry
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import router
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from .. import exceptions
from ..publishing import publisher
from ..recovery import lost_runs
from ..rows import announcing, clock, due, querysets, resetting, seen, states, transitions
from ..running import cancelling, executor

logger = logging.getLogger(__name__)

FEW = 5  # rows that an action changes without a question

_RESET = ngettext_lazy(
    "{ok} item has been reset successfully.", "{ok} items have been reset successfully.", "ok"
)
_COMPLETED = ngettext_lazy(
    "{ok} item has been successfully completed.",
    "{ok} items have been successfully completed.",
    "ok",
)
_FAILED = ngettext_lazy("{failed} item failed.", "{failed} items failed.", "failed")

Act = Callable[[Any, HttpRequest, QuerySet[Any]], Any]


def asks_first(consequence: Any) -> Callable[[Act], Act]:
    """Let an action ask before it acts on more than ``FEW`` rows, and say its ``consequence``."""

    def decorate(act: Act) -> Act:
        @functools.wraps(act)
        def asked(modeladmin: Any, request: HttpRequest, queryset: Any) -> Any:
            # A queryset that no database was named for would be read from a replica.
            queryset = queryset.using(queryset._db or router.db_for_write(queryset.model))
            some = queryset.order_by().values_list("pk")[: FEW + 1]
            if "post" in request.POST or len(some) <= FEW:
                return act(modeladmin, request, queryset)
            return _question(modeladmin, request, queryset, asked, consequence)

        return asked

    return decorate


@admin.action(
    permissions=["change"], description=_("Reset selected tasks and push them to message queue")
)
@asks_first(
    _(
        "They become ready as if they had never run, whatever they are, and are published. "
        "A run under way loses its claim. What is done runs again."
    )
)
def reset_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Make the rows READY, whatever they were, and publish them after the commit."""
    work = _Work(modeladmin, request, queryset)
    for changed, page in resetting.reset_pages(queryset, Q(), work.permitted):
        publisher.publish_on_commit(page, using=queryset.db)
        lost_runs.forget(page)
        ready = resetting.changed_rows(page, changed, {"status": states.READY})
        work.log(ready, translate("Reset and published."))
    work.report(_RESET, published=True)


@admin.action(permissions=["change"], description=_("Publish selected tasks again"))
@asks_first(
    _(
        "Those that are ready are sent to their queues again. The others are left as they "
        "are. A second message does nothing to a row that a worker has taken meanwhile."
    )
)
def publish_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Publish those of the rows that are READY, after the commit."""
    work = _Work(modeladmin, request, queryset)
    for page in work.pages():
        ready = work.without_parked([row for row in page if row.status == states.READY])
        publisher.publish_on_commit(ready, using=queryset.db)
        work.log(ready, translate("Published again."))
    left = translate("Left as they are, for they are not ready: {left}. Reset them.")
    work.report(translate("Published again: {ok}."), left, published=True)


@admin.action(permissions=["change"], description=_("Retry selected tasks now"))
@asks_first(
    _(
        "Those that wait for their time are due at once, and those that have failed become "
        "ready again: after their last completed step where their model resumes, else as if "
        "they had never run. Both are published. The others are left as they are."
    )
)
def retry_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Publish the durable rows that wait for their time, and those that have failed."""
    work = _Work(modeladmin, request, queryset)
    for page in work.pages():
        rows = [row for row in page if row._is_durable]
        ready = [*resetting.hasten(rows), *resetting.reset_failed(rows)]
        publisher.publish_on_commit(ready, using=queryset.db)
        work.log(ready, translate("To be tried again at once."))
    left = translate(
        "Left as they are, for they neither wait for their time nor have failed: {left}."
    )
    work.report(translate("To be tried again at once: {ok}."), left, published=True)


@admin.action(permissions=["change"], description=_("Cancel selected tasks"))
@asks_first(
    _(
        "Those that are not done become done, without success, and remember that they were "
        "cancelled. A handler that is running comes to its end, and changes nothing on the row "
        "any more."
    )
)
def cancel_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Cancel the durable rows that are not DONE; a run under way loses its claim."""
    work = _Work(modeladmin, request, queryset)
    for page in work.pages():
        rows = [row for row in page if row._is_durable and row.status != states.DONE]
        cancelled = [row for row in rows if cancelling.cancel(row, terminate=False)]
        work.log(cancelled, translate("Cancelled."))
    left = translate("Left as they are, for they are done: {left}.")
    work.report(translate("Cancelled: {ok}."), left)


@admin.action(permissions=["change"], description=_("Stop selected tasks"))
@asks_first(
    _(
        "Those that are not done become done, without success. A handler that is running "
        "comes to its end, and changes nothing on the row any more."
    )
)
def stop_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Make the rows DONE and unsuccessful; a run under way loses its claim."""
    words, ok = translate("Stopped."), translate("Stopped: {ok}.")
    _Work(modeladmin, request, queryset).end(states.stop, words, ok)


@admin.action(permissions=["change"], description=_("Force to mark selected tasks done"))
@asks_first(
    _(
        "Those that are not done become done, without a word on their success. A run under "
        "way loses its claim."
    )
)
def mark_selected_tasks_done(
    modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
) -> None:
    """Mark the rows DONE that are not; a run under way loses its claim."""
    _Work(modeladmin, request, queryset).end(states.mark, translate("Marked done."), _COMPLETED)


@admin.action(permissions=["change"], description=_("Force to do selected tasks"))
@asks_first(
    _(
        "They run here and now, all steps, whatever their status, one after the other; "
        "this page waits for them. A run under way loses its claim."
    )
)
def force_do_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Run the rows here and now, all steps, whatever their status."""
    work = _Work(modeladmin, request, queryset)
    for page in work.pages():
        by_code = defaultdict(list)
        for row in page:
            by_code[_run(row)].append(row)
        work.log(by_code.pop(None, []), translate("Run by force."))
        for code, rows in by_code.items():
            text = translate("Run by force, and failed with {code}.")
            work.log(rows, text.format(code=code), changed=False)
    all_failed = work.left and not work.changed
    ok = "" if all_failed else _COMPLETED
    work.report(ok, _FAILED, messages.ERROR)


#: All those of any task model, as ``ModelAdmin.actions``.
ACTIONS = [
    publish_selected_tasks,
    reset_selected_tasks,
    stop_selected_tasks,
    mark_selected_tasks_done,
    force_do_selected_tasks,
]
#: Those of a durable model, beside the others.
DURABLE_ACTIONS = [retry_selected_tasks, cancel_selected_tasks]


class _Work:
    """What all actions share: pages of the rows that the user may change, log and messages."""

    def __init__(self, modeladmin: Any, request: Any, queryset: QuerySet[Any]) -> None:
        self.modeladmin, self.request, self.queryset = modeladmin, request, queryset
        self.changed = self.left = self.refused = self.parked = 0

    def permitted(self, page: list[Any]) -> list[Any]:
        """Return those of the rows that the user may change, as the ModelAdmin has it."""
        may = self.modeladmin.has_change_permission
        rows = [row for row in page if may(self.request, row)]
        self.left += len(rows)
        self.refused += len(page) - len(rows)
        return rows

    def pages(self) -> Iterator[list[Any]]:
        """Yield the rows that the user may change."""
        return map(self.permitted, querysets.pages(self.queryset))

    def without_parked(self, ready: list[Any]) -> list[Any]:
        """Return those READY rows that are published now; no message carries a far time."""
        times = [(row, due.after(row)) for row in ready]
        rows = [row for row, time in times if time is None or not due.is_kept_by_row(time)]
        self.parked += len(ready) - len(rows)
        self.left -= len(ready) - len(rows)
        return rows

    def log(self, rows: list[Any], words: str, changed: bool = True) -> None:
        """Write to the admin's log what was done to the rows, and count those changed."""
        from django.contrib.admin.models import CHANGE, LogEntry

        LogEntry.objects.log_actions(self.request.user.pk, rows, CHANGE, words)
        if changed:
            self.changed += len(rows)
            self.left -= len(rows)

    def end(self, how: Callable[[datetime], dict[str, Any]], words: str, ok: Any) -> None:
        """End the rows that are not DONE; ``how`` returns the columns, given the time."""
        model, using = self.queryset.model, self.queryset.db
        for page in self.pages():
            now = clock.now(using)
            values = {**how(now), "mod_time": now}
            rows = [row for row in page if row.status != states.DONE]
            changed = transitions.end_open(model, using, [row.pk for row in rows], values)
            ended = resetting.changed_rows(rows, changed, values)
            for row in ended:
                seen.hold(row, values)
                announcing.finished(row)
            self.log(ended, words)
        self.report(ok, translate("Left as they are, for they are done: {left}."))

    def report(
        self, ok: Any, left: Any = "", level: int = messages.WARNING, published: bool = False
    ) -> None:
        """Say how many rows were changed, how many were left alone, and why."""
        say = functools.partial(self.modeladmin.message_user, self.request)
        if ok:
            say(ok.format(ok=self.changed), messages.SUCCESS)
        if left and self.left:
            say(left.format(left=self.left, failed=self.left), level)
        if self.parked:
            text = translate("Left as they are, for they wait for their time: {left}. Retry them.")
            say(text.format(left=self.parked), messages.WARNING)
        if self.refused:
            text = translate("Left as they are, for you may not change them: {left}.")
            say(text.format(left=self.refused), messages.WARNING)
        if published and publisher.has_failed():
            text = translate("The broker has not taken all of them. Auto-reset publishes the rest.")
            say(text, messages.WARNING)


def _run(row: Any) -> int | None:
    """Run a row by force; return None, or the code of the error."""
    try:
        executor.run(type(row), row._state.db, row.pk, force=True)
    except Retry:  # a handler has raised, and is called again
        return exceptions.HANDLER_FAILED
    except Exception as error:
        name = row.get_task_info()
        logger.warning("Admin action on %s failed: %s", name, error, extra={"task_info": name})
        return getattr(error, "code", exceptions.SYSTEM_ERROR)
    return None


def _question(
    modeladmin: Any, request: HttpRequest, rows: QuerySet[Any], action: Any, consequence: Any
) -> TemplateResponse:
    """Return the page that asks: how many rows, in which state, and what will happen."""
    model, site = rows.model, modeladmin.admin_site
    if rows.query.distinct:  # whose GROUP BY would count the rows of a join
        rows = model._base_manager.using(rows.db).filter(pk__in=rows.order_by().values("pk"))
    counts = dict(rows.order_by().values_list("status").annotate(Count("pk")))
    is_across = request.POST.get("select_across") == "1"
    chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
    context = {
        **site.each_context(request),
        "title": action.short_description,
        "consequence": consequence,
        "total": sum(counts.values()),
        "states": [(word, counts[status]) for status, word in model.STATUS if status in counts],
        "name": model._meta.verbose_name_plural,
        "opts": model._meta,
        "media": modeladmin.media,
        "action": action.__name__,
        "across": is_across,
        "chosen": chosen[:1] if is_across else chosen,
        "checkbox": ACTION_CHECKBOX_NAME,
        "back": request.get_full_path(),
    }
    request.current_app = site.name
    return TemplateResponse(request, "simpletask2_celery/question.html", context)
