"""The admin's actions: the original's three, publish again, and stop.

Each asks before it acts on more than a few rows, works in one query per page of rows,
says what it did and what it left alone, and writes that to the admin's log.
"""

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import router
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from .. import exceptions
from ..publishing import publisher
from ..recovery import lost_runs
from ..rows import announcing, clock, querysets, resetting, seen, states, transitions
from ..running import executor

logger = logging.getLogger(__name__)

FEW = 5  # rows that an action does not ask for

Act = Callable[[Any, HttpRequest, QuerySet[Any]], Any]


def asks_first(consequence: Any) -> Callable[[Act], Act]:
    """Let an action ask before it acts on more than ``FEW`` rows.

    ``consequence`` (a lazy text) is what the question says of it.
    """

    def decorate(act: Act) -> Act:
        @functools.wraps(act)
        def asked(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
            chosen: Any = queryset  # whose database is None where nobody has named one
            queryset = queryset.using(chosen._db or router.db_for_write(queryset.model))
            some = queryset.order_by().values_list("pk")[: FEW + 1]
            if "post" in request.POST or len(some) <= FEW:
                return act(modeladmin, request, queryset)
            return _question(modeladmin, request, queryset, asked, consequence)

        return asked

    return decorate


@admin.action(
    permissions=["change"],
    description=_("Reset selected tasks and push them to message queue"),
)
@asks_first(
    _(
        "They become ready as if they had never run, whatever they are, and are published. "
        "A run under way loses its claim. What is done runs again."
    )
)
def reset_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Make the rows READY, whatever they were, and publish them after the commit."""
    count = 0
    permitted = _Permitted(modeladmin, request)
    for changed, page in resetting.reset_pages(queryset, Q(), permitted.of):
        publisher.publish_on_commit(page, using=queryset.db)
        lost_runs.forget(page)
        ready = resetting.changed_rows(page, changed, {"status": states.READY})
        _log(request, ready, translate("Reset and published."))
        count += changed
    text = translate("{ok} items have been reset successfully.")
    _say(modeladmin, request, text.format(ok=count))
    permitted.say()
    _say_broker(modeladmin, request)


@admin.action(permissions=["change"], description=_("Publish selected tasks again"))
@asks_first(
    _(
        "Those that are ready are sent to their queues again. The others are left as they "
        "are. A second message does nothing to a row that a worker has taken meanwhile."
    )
)
def publish_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Publish those of the rows that are READY, after the commit."""
    count = left = 0
    permitted = _Permitted(modeladmin, request)
    for page in map(permitted.of, querysets.pages(queryset)):
        ready = [row for row in page if row.status == states.READY]
        count += publisher.publish_on_commit(ready, using=queryset.db)
        left += len(page) - len(ready)
        _log(request, ready, translate("Published again."))
    _say(modeladmin, request, translate("Published again: {ok}.").format(ok=count))
    if left:
        text = translate("Left as they are, for they are not ready: {left}. Reset them.")
        _say(modeladmin, request, text.format(left=left), messages.WARNING)
    permitted.say()
    _say_broker(modeladmin, request)


@admin.action(permissions=["change"], description=_("Stop selected tasks"))
@asks_first(
    _(
        "Those that are not done become done, without success. A handler that is running "
        "comes to its end, and changes nothing on the row any more."
    )
)
def stop_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Make the rows DONE and unsuccessful; a run under way loses its claim."""
    words = translate("Stopped.")
    count, left = _end(modeladmin, request, queryset, words, success=False)
    _say(modeladmin, request, translate("Stopped: {ok}.").format(ok=count))
    _say_left_done(modeladmin, request, left)


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
    """Mark the rows that are not DONE so; a run under way loses its claim."""
    count, left = _end(modeladmin, request, queryset, translate("Marked done."))
    text = translate("{ok} items have been successfully completed.")
    _say(modeladmin, request, text.format(ok=count))
    _say_left_done(modeladmin, request, left)


@admin.action(permissions=["change"], description=_("Force to do selected tasks"))
@asks_first(
    _(
        "They run here and now, all steps, whatever their status, one after the other; "
        "this page waits for them. A run under way loses its claim."
    )
)
def force_do_selected_tasks(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Run the rows here and now, all steps, whatever their status."""
    ok = failed = 0
    permitted = _Permitted(modeladmin, request)
    for page in map(permitted.of, querysets.pages(queryset)):
        ended: dict[int | None, list[Any]] = {}
        for row in page:
            ended.setdefault(_run(row), []).append(row)
        good = ended.pop(None, [])
        _log(request, good, translate("Run by force."))
        for code, rows in ended.items():
            words = translate("Run by force, and failed with {code}.").format(code=code)
            _log(request, rows, words)
        ok += len(good)
        failed += len(page) - len(good)
    if ok or not failed:
        text = translate("{ok} items have been successfully completed.")
        _say(modeladmin, request, text.format(ok=ok))
    if failed:
        text = translate("{failed} items failed.").format(failed=failed)
        _say(modeladmin, request, text, messages.ERROR)
    permitted.say()


#: All of them, as ``ModelAdmin.actions``.
ACTIONS = [
    publish_selected_tasks,
    reset_selected_tasks,
    stop_selected_tasks,
    mark_selected_tasks_done,
    force_do_selected_tasks,
]


def _run(row: Any) -> int | None:
    """Run a row by force; return None, or the code of the error."""
    try:
        executor.run(type(row), row._state.db, row.pk, force=True)
    except Exception as error:
        name = row.get_task_info()
        about = {"task_info": name}
        logger.warning("Admin action on %s failed: %s", name, error, extra=about)
        return getattr(error, "code", exceptions.SYSTEM_ERROR)
    return None


class _Permitted:
    """Which rows the user may change, as the ModelAdmin has it, and how many not."""

    def __init__(self, modeladmin: Any, request: HttpRequest) -> None:
        self._modeladmin, self._request = modeladmin, request
        self._refused = 0

    def of(self, page: list[Any]) -> list[Any]:
        """Return those of the rows that the user may change."""
        may = self._modeladmin.has_change_permission
        rows = [row for row in page if may(self._request, row)]
        self._refused += len(page) - len(rows)
        return rows

    def say(self) -> None:
        """Say how many rows were left alone."""
        if self._refused:
            text = translate("Left as they are, for you may not change them: {left}.")
            text = text.format(left=self._refused)
            _say(self._modeladmin, self._request, text, messages.WARNING)


def _end(
    modeladmin: Any,
    request: HttpRequest,
    queryset: QuerySet[Any],
    words: str,
    **outcome: Any,
) -> tuple[int, int]:
    """End the rows that are not DONE; return how many were ended, and how many left."""
    count = left = 0
    permitted = _Permitted(modeladmin, request)
    for page in map(permitted.of, querysets.pages(queryset)):
        now = clock.now(queryset.db)
        values = {"status": states.DONE, "done_time": now, "auto_reset_time": None}
        values |= {"mod_time": now, **outcome}
        open_rows = [row for row in page if row.status != states.DONE]
        keys = [row.pk for row in open_rows]
        changed = transitions.end_open(queryset.model, queryset.db, keys, values)
        ended = resetting.changed_rows(open_rows, changed, values)
        for row in ended:
            seen.hold(row, values)
            announcing.finished(row)
        _log(request, ended, words)
        count += changed
        left += len(page) - changed
    permitted.say()
    return count, left


def _log(request: HttpRequest, rows: Iterable[Any], words: str) -> None:
    from django.contrib.admin.models import CHANGE, LogEntry

    user: Any = request.user
    entries: Any = LogEntry.objects
    entries.log_actions(user.pk, rows, CHANGE, words)


def _say(modeladmin: Any, request: HttpRequest, text: str, level: int = messages.SUCCESS) -> None:
    modeladmin.message_user(request, text, level)


def _say_left_done(modeladmin: Any, request: HttpRequest, left: int) -> None:
    if left:
        text = translate("Left as they are, for they are done: {left}.")
        _say(modeladmin, request, text.format(left=left), messages.WARNING)


def _say_broker(modeladmin: Any, request: HttpRequest) -> None:
    if publisher.has_failed():
        text = translate("The broker has not taken all of them. Auto-reset publishes the rest.")
        _say(modeladmin, request, text, messages.WARNING)


def _question(
    modeladmin: Any,
    request: HttpRequest,
    queryset: QuerySet[Any],
    action: Any,
    consequence: Any,
) -> TemplateResponse:
    """Return the page that asks: how many rows, in which state, and what will happen."""
    rows = queryset.order_by()
    if rows.query.distinct:
        base = queryset.model._base_manager.using(queryset.db)
        rows = base.filter(pk__in=rows.values("pk"))
    counts = dict(rows.values_list("status").annotate(Count("pk")).order_by())
    meta = queryset.model._meta
    chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
    across = request.POST.get("select_across") == "1"
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": action.short_description,
        "consequence": consequence,
        "total": sum(counts.values()),
        "states": [
            (word, counts[status]) for status, word in queryset.model.STATUS if status in counts
        ],
        "name": meta.verbose_name_plural,
        "opts": meta,
        "media": modeladmin.media,
        "action": action.__name__,
        "across": across,
        "chosen": chosen[:1] if across else chosen,
        "checkbox": ACTION_CHECKBOX_NAME,
        "back": request.get_full_path(),
    }
    request.current_app = modeladmin.admin_site.name
    return TemplateResponse(request, "simpletask2_celery/question.html", context)
