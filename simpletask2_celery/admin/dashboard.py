"""The dashboard: the figures on one page of the admin. It has no table of its own.

To have a URL and a place in the admin's index and menus, it is registered like a model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.apps import apps
from django.apps.registry import Apps
from django.contrib.admin import AdminSite, ModelAdmin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from ..rows.model import task_models
from ..watching import egress, figures, limits, queues
from ..watching.figures import Bucket, Counts, Figures, Kind, ModelFigures, Times
from . import cells

NAME = "simpletask2_dashboard"
CARDS = 20  # models that have a card at once, the worst; a card is some 20 kB
WIDTH, HEIGHT, GAP = 600, 96, 2  # of a chart, in units of its SVG


_apps = Apps()  # of its own: no migration, table or permission
_apps.app_configs = apps.app_configs


class NoRows(models.Manager["Dashboard"]):
    """For who counts the rows of whatever the admin lists: there is no table to ask."""

    def get_queryset(self) -> "models.QuerySet[Dashboard]":
        """Return no rows, without a query."""
        return super().get_queryset().none()


class Dashboard(models.Model):
    """What the admin lists."""

    objects = NoRows()

    class Meta:
        apps = _apps
        app_label = "simpletask2_celery"
        verbose_name = verbose_name_plural = _("Dashboard")


class DashboardAdmin(ModelAdmin):  # type: ignore[type-arg]
    """The dashboard's entry, for those who may view the rows of any task model."""

    def get_urls(self) -> Any:
        """Return the URL, under its own name and under that of a list, which menus look up."""
        view = self.admin_site.admin_view(self.changelist_view)
        names = (NAME, f"{self.opts.app_label}_{self.opts.model_name}_changelist")
        return [path("", view, name=name) for name in names]

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dashboard."""
        return show(request, self.admin_site)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the user may view any task model."""
        return any(_may_view(request, self.admin_site, model) for model in task_models())

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return the same."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: nobody adds, changes or deletes a dashboard."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


def show(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Show the figures of the models that the user may view."""
    facts = figures.read([model for model in task_models() if _may_view(request, site, model)])
    tables = sorted(facts.models, key=_badness, reverse=True)
    with_rows = [one for one in tables if not _is_empty(one)]
    chosen = [one for one in with_rows if _id(one) == request.GET.get("card")]
    cards = chosen or with_rows[:CARDS]
    context = {
        **site.each_context(request),
        "title": translate("Dashboard"),
        "tiles": _tiles(facts),
        "columns": [column.title for column in COLUMNS],
        "lines": [_line(one, site, one in cards) for one in tables],
        "cards": [_card(one, site) for one in cards],
        "read_at": cells.local(facts.at),
    }
    request.current_app = site.name
    return TemplateResponse(request, "simpletask2_celery/dashboard.html", context)


def _may_view(request: HttpRequest, site: AdminSite, model: type[models.Model]) -> bool:
    """Ask the model's admin, which may have a rule of its own; else the permissions."""
    is_registered = site.is_registered(model)
    modeladmin = site.get_model_admin(model) if is_registered else ModelAdmin(model, site)
    return modeladmin.has_view_permission(request)


class Column(NamedTuple):
    """A column of the table of all models; a number above zero gets the look."""

    title: Any
    value: Callable[[ModelFigures], float | None]
    look: str = ""
    words: Callable[[Any], str] = "{:,}".format


def _count(one: ModelFigures, *names: str) -> int | None:
    return None if one.total is None else sum(getattr(one.total, name) for name in names)


def _oldest(one: ModelFigures) -> float | None:
    return None if one.total is None else one.total.oldest_ready_seconds


def _ended(buckets: list[Bucket] | None, name: str) -> int | None:
    return None if buckets is None else sum(getattr(bucket, name) for bucket in buckets)


#: The worst comes first: models are ordered by the first column, then by the next one.
COLUMNS = [
    Column(_("Overdue"), lambda one: _count(one, "overdue", "lost"), "stale"),
    Column(_("Stale"), lambda one: _count(one, "stale"), "stale"),
    Column(_("Failed, last hour"), lambda one: _ended(one.hour, "failed"), "failed"),
    Column(_("Failed, last 24 hours"), lambda one: _ended(one.day, "failed"), "failed"),
    Column(_("Oldest ready row"), _oldest, words=cells.duration),
    Column(_("Ready"), lambda one: _count(one, "ready")),
    Column(_("Doing"), lambda one: _count(one, "doing")),
    Column(_("Ended, last hour"), lambda one: _ended(one.hour, "done")),
]


def _badness(one: ModelFigures) -> tuple[float, ...]:
    """Return what models are ordered by: whether one could not be read, then the columns."""
    return (one.total is None, *(column.value(one) or 0 for column in COLUMNS))


def _line(one: ModelFigures, site: AdminSite, has_card: bool) -> dict[str, Any]:
    """Return a line of the table of all models, which leads to the model's card or list."""
    card = f"#st2-{_id(one)}" if has_card else f"?card={_id(one)}"
    values = [(column, column.value(one)) for column in COLUMNS]
    shown = [
        {
            "text": "–" if value is None else column.words(value),
            "look": column.look if value else "",
        }
        for column, value in values
    ]
    looks = ["failed"] if one.total is None else [cell["look"] for cell in shown if cell["look"]]
    return {
        "title": capfirst(one.model._meta.verbose_name_plural),
        "label": one.label,
        "url": _changelist(one, site) if _is_empty(one) else card,
        "problem": _problem(one),
        "cells": shown,
        "look": looks[0] if looks else "",
    }


def _is_empty(one: ModelFigures) -> bool:
    sums = one.total
    return sums is not None and not (sums.ready or sums.doing or sums.done)


def _id(one: ModelFigures) -> str:
    return f"{one.model._meta.app_label}-{one.model._meta.model_name}-{one.using}"


def _problem(one: ModelFigures) -> str | None:
    if one.problem == limits.TOO_LONG:
        return translate("The database took too long to say more.")
    return one.problem and translate("Not read: {reason}.").format(reason=translate(one.problem))


def _tiles(facts: Figures) -> list[dict[str, str]]:
    """Return the facts on top; their ``look`` is "done" if all is well, "failed" if not."""
    unknown, down, is_late = translate("not known"), facts.broker, facts.is_reset_missing
    broker = ("done", translate("answers"), "")
    if down is not None:
        text = translate("is down ({reason})").format(reason=translate(down))
        more = translate("Rows are saved all the same; auto-reset publishes them later.")
        broker = ("failed", text, more)
    workers = ("marked" if down is None else "failed", unknown, "")
    if facts.workers is not None:
        more = ", ".join(facts.workers) or translate("None answers: nothing runs.")
        workers = ("done" if facts.workers else "failed", str(len(facts.workers)), more)
    queued = ("failed", unknown, "")
    if facts.queues is not None and float("inf") not in facts.queues.values():
        filled = {channel: int(count) for channel, count in facts.queues.items() if count}
        more = ", ".join(f"{channel}: {count}" for channel, count in filled.items())
        queued = ("done", str(sum(filled.values())), more)
    if facts.unserved:
        text = translate("No worker serves {queues}.")
        text = text.format(queues=queues.names(facts.unserved))
        queued = ("failed", queued[1], ". ".join(filter(None, [queued[2], text])))
    last_reset = ("failed" if is_late else "marked", unknown, "")
    if facts.last_reset is not None:
        ago = translate("{time} ago").format(time=cells.duration(facts.last_reset))
        more = translate("Overdue: does beat run?") if is_late else ""
        last_reset = ("failed" if is_late else "done", ago, more)
    tiles = [
        (translate("Broker"), *broker),
        (translate("Workers online"), *workers),
        (translate("Messages in queues"), *queued),
        (translate("Last auto-reset"), *last_reset),
    ]
    if facts.egress:
        tiles.insert(2, (translate("Egress workers"), *_egress(facts.egress)))
    return [dict(zip(("title", "look", "text", "more"), tile, strict=True)) for tile in tiles]


def _egress(found: dict[str, int]) -> tuple[str, str, str]:
    unserved = egress.unserved(found)
    text = translate("No worker serves {queues}.").format(queues=", ".join(unserved))
    return "failed" if unserved else "done", str(sum(found.values())), text if unserved else ""


def _card(one: ModelFigures, site: AdminSite) -> dict[str, Any]:
    changelist = _changelist(one, site)
    charts = (
        (one.hour, translate("Last hour"), translate("a minute")),
        (one.day, translate("Last 24 hours"), translate("half an hour")),
    )
    has_channels = getattr(one.model, "channel_field", None) is not None
    return {
        "id": _id(one),
        "title": capfirst(one.model._meta.verbose_name_plural),
        "label": one.label,
        "problem": _problem(one),
        "changelist": changelist,
        "numbers": _numbers(one, one.total, changelist) if one.total else [],
        "oldest": cells.duration(_oldest(one)),
        "channels": [_channel(counts) for counts in one.channels if has_channels],
        "kinds": [_kind(kind) for kind in one.kinds],
        "charts": [_chart(buckets, *words) for buckets, *words in charts if buckets],
        "newest": one.newest,
        "times": _times(one.times) if one.times else None,
    }


def _changelist(one: ModelFigures, site: AdminSite) -> str | None:
    """Return the URL of the rows' list, if it is that of this database."""
    meta = one.model._meta
    if one.using != "default" or not site.is_registered(one.model):
        return None
    return url(site, f"{meta.app_label}_{meta.model_name}_changelist")


def url(site: AdminSite, name: str, *args: str) -> str | None:
    """Return a URL of the admin; None where a project has taken it out."""
    try:
        return reverse(f"admin:{name}", args=args, current_app=site.name)
    except NoReverseMatch:
        return None


#: look → query string of the list that shows its rows
QUERIES = {
    "ready": "status__exact=10",
    "retrying": "attempt=retrying",
    "scheduled": "attempt=scheduled",
    "doing": "status__exact=20",
    "stale": "stale=lease",
    "done": "status__exact=30",
    "failed": "status__exact=30&success__exact=0",
}


#: The looks of rows that are tried again or wait for their time, as of durable models alone.
OF_DURABLE = {"retrying", "scheduled"}


def _numbers(one: ModelFigures, total: Counts, changelist: str | None) -> list[dict[str, Any]]:
    looks = [look for look in QUERIES if one.model._is_durable or look not in OF_DURABLE]
    counts = {look: getattr(total, look) for look in looks}
    words = {look: "–" if count is None else f"{count:,}" for look, count in counts.items()}
    if total.is_estimate:
        words["done"] = f"≈ {words['done']}"
    return [
        {
            "badge": cells.LOOKS[look],
            "look": look,
            "title": cells.LOOKS[look][0],
            "count": words[look],
            "url": changelist and f"{changelist}?{QUERIES[look]}",
        }
        for look in looks
    ]


def _channel(counts: Counts) -> dict[str, Any]:
    name = translate("all others") if counts.channel is None else counts.channel
    return {**vars(counts), "name": name, "oldest": cells.duration(counts.oldest_ready_seconds)}


def _kind(kind: Kind) -> dict[str, Any]:
    done, failed = ("–" if count is None else f"{count:,}" for count in (kind.done, kind.failed))
    oldest = cells.duration(kind.oldest_ready_seconds)
    return {**vars(kind), "done": done, "failed": failed, "oldest": oldest}


def _times(times: Times) -> dict[str, Any]:
    """Return a table: what took the time, and its percentiles 50 and 95."""
    waited = translate("Waited"), cells.duration(times.wait_p50), cells.duration(times.wait_p95)
    ran = translate("Ran"), cells.duration(times.run_p50), cells.duration(times.run_p95)
    return {"rows": times.rows, "lines": [waited, ran]}


def _chart(buckets: list[Bucket], title: str, each: str) -> dict[str, Any]:
    """Return bars of rows that ended, with those that failed at their foot."""
    most = max(1, *(bucket.done for bucket in buckets))
    step, unit = WIDTH / len(buckets), HEIGHT / most
    times = [f"{cells.local(bucket.start):%H:%M}" for bucket in buckets]
    bars = [
        {
            "x": f"{number * step:.1f}",
            "width": f"{step - GAP:.1f}",
            "well_y": f"{HEIGHT - bucket.done * unit:.1f}",
            "well": f"{(bucket.done - bucket.failed) * unit:.1f}",
            "failed_y": f"{HEIGHT - bucket.failed * unit:.1f}",
            "failed": f"{bucket.failed * unit:.1f}",
            "title": translate("{time}: {done} ended, {failed} failed").format(
                time=times[number], done=bucket.done, failed=bucket.failed
            ),
        }
        for number, bucket in enumerate(buckets)
        if bucket.done
    ]
    done = sum(bucket.done for bucket in buckets)
    failed = sum(bucket.failed for bucket in buckets)
    minutes = (buckets[1].start - buckets[0].start).total_seconds() * len(buckets) / 60
    text = translate("{done} ended, {failed} of them failed; {rate} a minute")
    peak = translate("most in {each}: {most}").format(each=each, most=f"{most:,}")
    return {
        "title": title,
        "text": text.format(done=f"{done:,}", failed=f"{failed:,}", rate=f"{done / minutes:,.1f}"),
        "peak": peak if done else "",
        "bars": bars,
        "begin": times[0],
        "width": WIDTH,
        "height": HEIGHT,
    }
