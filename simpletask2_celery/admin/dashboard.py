"""The dashboard: one page in the admin, of the figures, without a table of its own."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as translate

from ..rows.model import task_models
from ..watching import figures, limits
from ..watching.figures import Bucket, Counts, ModelFigures
from . import cells

NAME = "simpletask2_dashboard"
WIDTH, HEIGHT, GAP = 600, 96, 2  # of a chart, in units of its SVG


def url_patterns(site: AdminSite) -> list[URLPattern]:
    """Return the dashboard's URL, "…/dashboard/", of an admin site."""

    def view(request: HttpRequest) -> HttpResponse:
        return show(request, site)

    return [path("dashboard/", site.admin_view(view), name=NAME)]


def show(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Show the figures of the models that the user may view."""
    allowed = [model for model in task_models() if _may_view(request, site, model)]
    found = figures.read(allowed)
    context = {
        **site.each_context(request),
        "title": translate("Tasks"),
        "tiles": _tiles(found),
        "cards": [_card(one, site) for one in found.models if not _is_empty(one)],
        "empty": [one.label for one in found.models if _is_empty(one)],
        "read_at": timezone.localtime(found.at),
    }
    request.current_app = site.name
    page = TemplateResponse(request, "simpletask2_celery/dashboard.html", context)
    add_never_cache_headers(page)
    return page


def _may_view(request: HttpRequest, site: AdminSite, model: type[models.Model]) -> bool:
    """Ask the model's admin, which may have a rule of its own; else the permissions."""
    if site.is_registered(model):
        return bool(site.get_model_admin(model).has_view_permission(request))
    user: Any = request.user
    app_label, name = model._meta.app_label, model._meta.model_name
    return any(user.has_perm(f"{app_label}.{may}_{name}") for may in ("view", "change"))


# -- the tiles on top ------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """A fact about the whole: ``look`` is "done" where it is well, "failed" where not."""

    title: str
    look: str
    text: str
    more: str = ""


def _tiles(found: figures.Figures) -> list[Tile]:
    return [_broker(found), _workers(found), _queued(found), _last_reset(found)]


def _broker(found: figures.Figures) -> Tile:
    if found.broker is None:
        return Tile(translate("Broker"), "done", translate("answers"))
    text = translate("is down ({reason})").format(reason=translate(found.broker))
    more = translate("Rows are saved all the same; auto-reset publishes them later.")
    return Tile(translate("Broker"), "failed", text, more)


def _workers(found: figures.Figures) -> Tile:
    title = translate("Workers online")
    if found.workers is None:
        look = "marked" if found.broker is None else "failed"
        return Tile(title, look, translate("not known"))
    more = ", ".join(found.workers) or translate("None answers: nothing runs.")
    look = "done" if found.workers else "failed"
    return Tile(title, look, str(len(found.workers)), more)


def _queued(found: figures.Figures) -> Tile:
    title = translate("Messages in queues")
    if found.queues is None or float("inf") in found.queues.values():
        return Tile(title, "failed", translate("not known"))
    filled = {channel: int(count) for channel, count in found.queues.items() if count}
    more = ", ".join(f"{channel}: {count}" for channel, count in filled.items())
    return Tile(title, "done", str(sum(filled.values())), more)


def _last_reset(found: figures.Figures) -> Tile:
    title = translate("Last auto-reset")
    if found.last_reset is None:
        look = "failed" if found.is_reset_missing else "marked"
        return Tile(title, look, translate("not known"))
    ago = translate("{time} ago").format(time=cells.duration(found.last_reset))
    if found.is_reset_missing:
        more = translate("Overdue: does beat run?")
        return Tile(title, "failed", ago, more)
    return Tile(title, "done", ago)


# -- a card for each model ---------------------------------------------------------------


def _is_empty(one: ModelFigures) -> bool:
    """Tell whether the table has no row: of those there is nothing to show."""
    total = one.total
    return total is not None and not (total.ready or total.doing or total.done)


def _card(one: ModelFigures, site: AdminSite) -> dict[str, Any]:
    meta = one.model._meta
    changelist = _changelist(one, site)
    name = str(meta.verbose_name_plural)
    return {
        "id": f"{meta.app_label}-{meta.model_name}-{one.using}",
        "title": f"{name[:1].upper()}{name[1:]}",
        "label": one.label,
        "problem": _words(one.problem),
        "changelist": changelist,
        "numbers": _numbers(one.total, changelist) if one.total else [],
        "oldest": _duration(one.total.oldest_ready_seconds if one.total else None),
        "channels": _channels(one),
        "charts": [
            _chart(buckets, title, each)
            for buckets, title, each in (
                (one.hour, translate("Last hour"), translate("a minute")),
                (one.day, translate("Last 24 hours"), translate("half an hour")),
            )
            if buckets is not None
        ],
        "newest": one.newest,
        "times": _times(one),
    }


def _changelist(one: ModelFigures, site: AdminSite) -> str | None:
    """Return the URL of the rows' list, if it is that of this database."""
    if one.using != "default" or not site.is_registered(one.model):
        return None
    meta = one.model._meta
    try:
        name = f"admin:{meta.app_label}_{meta.model_name}_changelist"
        return reverse(name, current_app=site.name)
    except NoReverseMatch:
        return None


def _words(problem: str | None) -> str | None:
    if problem == limits.TOO_LONG:
        return translate("The database took too long to say more.")
    if problem is None:
        return None
    return translate("Not read: {reason}.").format(reason=translate(problem))


def _numbers(total: Counts, changelist: str | None) -> list[dict[str, Any]]:
    def number(look: str, count: int | None, query: str) -> dict[str, Any]:
        shown = "–" if count is None else f"{count:,}"
        if look == "done" and total.is_estimate:
            shown = f"≈ {shown}"
        return {
            "badge": cells.LOOKS[look],
            "look": look,
            "title": cells.LOOKS[look][0],
            "count": shown,
            "url": changelist and f"{changelist}?{query}",
        }

    return [
        number("ready", total.ready, "status__exact=10"),
        number("doing", total.doing, "status__exact=20"),
        number("stale", total.stale, "stale=lease"),
        number("done", total.done, "status__exact=30"),
        number("failed", total.failed, "status__exact=30&success__exact=0"),
    ]


def _channels(one: ModelFigures) -> list[dict[str, Any]]:
    if getattr(one.model, "channel_field", None) is None:
        return []
    return [
        {
            "name": translate("all others") if counts.channel is None else counts.channel,
            "ready": counts.ready,
            "doing": counts.doing,
            "stale": counts.stale,
            "oldest": _duration(counts.oldest_ready_seconds),
        }
        for counts in one.channels
    ]


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else cells.duration(seconds)


def _times(one: ModelFigures) -> dict[str, Any] | None:
    if one.times is None:
        return None
    return {
        "rows": one.times.rows,
        "lines": [
            (
                translate("Waited"),
                cells.duration(one.times.wait_p50),
                cells.duration(one.times.wait_p95),
            ),
            (
                translate("Ran"),
                cells.duration(one.times.run_p50),
                cells.duration(one.times.run_p95),
            ),
        ],
    }


def _chart(buckets: list[Bucket], title: str, each: str) -> dict[str, Any]:
    """Return bars of rows that ended, with those that failed at their foot."""
    most = max(1, *(bucket.done for bucket in buckets))
    step = WIDTH / len(buckets)
    bars = []
    for at, bucket in enumerate(buckets):
        if not bucket.done:
            continue
        failed = HEIGHT * bucket.failed / most
        well = HEIGHT * (bucket.done - bucket.failed) / most
        bars.append(
            {
                "x": f"{at * step:.1f}",
                "width": f"{step - GAP:.1f}",
                "well_y": f"{HEIGHT - failed - well:.1f}",
                "well": f"{well:.1f}",
                "failed_y": f"{HEIGHT - failed:.1f}",
                "failed": f"{failed:.1f}",
                "title": _bar_title(bucket),
            }
        )
    done = sum(bucket.done for bucket in buckets)
    failures = sum(bucket.failed for bucket in buckets)
    minutes = (buckets[1].start - buckets[0].start).total_seconds() * len(buckets) / 60
    text = translate("{done} ended, {failed} of them failed; {rate} a minute").format(
        done=f"{done:,}", failed=f"{failures:,}", rate=f"{done / minutes:,.1f}"
    )
    peak = translate("most in {each}: {most}").format(each=each, most=f"{most:,}")
    return {
        "title": title,
        "text": text,
        "peak": peak if done else "",
        "bars": bars,
        "begin": _clock(buckets[0].start),
        "width": WIDTH,
        "height": HEIGHT,
    }


def _bar_title(bucket: Bucket) -> str:
    return translate("{time}: {done} ended, {failed} failed").format(
        time=_clock(bucket.start), done=bucket.done, failed=bucket.failed
    )


def _clock(moment: datetime.datetime) -> str:
    return f"{timezone.localtime(moment):%H:%M}"
