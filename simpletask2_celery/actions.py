"""The three admin actions of the original."""

import logging
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from . import executor, publisher, state

logger = logging.getLogger(__name__)


@admin.action(
    permissions=["change"],
    description=_("Reset selected tasks and push them to message queue"),
)
def reset_selected_tasks(
    modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
) -> None:
    """Make the rows READY, whatever they were, and publish them after the commit."""
    count = 0
    selected = Q(pk__in=list(queryset.values_list("pk", flat=True)))
    rows = queryset.model._base_manager.using(queryset.db).all()
    for changed, page in state.reset_pages(rows, selected):
        publisher.publish_on_commit(page)
        count += changed
    done = translate("{ok} items have been reset successfully.").format(ok=count)
    modeladmin.message_user(request, done, messages.SUCCESS)


@admin.action(permissions=["change"], description=_("Force to do selected tasks"))
def force_do_selected_tasks(
    modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
) -> None:
    """Run the rows here and now, all steps, whatever their status."""

    def run(row: Any) -> None:
        executor.run(type(row), row._state.db, row.pk, force=True)

    _each(modeladmin, request, queryset, run)


@admin.action(permissions=["change"], description=_("Force to mark selected tasks done"))
def mark_selected_tasks_done(
    modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
) -> None:
    """Mark the rows DONE, whatever they were; a run under way loses its claim."""

    def mark(row: Any) -> None:
        row.done(force=True)

    _each(modeladmin, request, queryset, mark)


def _each(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any], act: Any) -> None:
    ok = failed = 0
    for row in queryset:
        try:
            act(row)
            ok += 1
        except Exception as error:
            logger.warning("Admin action on %s failed: %s", row.get_task_info(), error)
            failed += 1
    if ok or not failed:
        text = translate("{ok} items have been successfully completed.").format(ok=ok)
        modeladmin.message_user(request, text, messages.SUCCESS)
    if failed:
        text = translate("{failed} items failed.").format(failed=failed)
        modeladmin.message_user(request, text, messages.ERROR)
