"""A row's state in the admin: a badge, a bar of its steps, its lease, its durations.

Nothing is told by colour alone. Bars get their size by attributes of SVG: a
Content-Security-Policy may forbid styles.
"""

import datetime
import uuid
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from ..rows import states
from ..rows.model import Row

#: look → (label, SVG path in a 16×16 view box)
LOOKS: dict[str, tuple[Any, str]] = {
    "ready": (_("Ready"), "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM8 4.5V8l2.5 1.5"),
    "retrying": (_("Retrying"), "M13.5 8a5.5 5.5 0 1 1-1.8-4M13.5 1.5v4h-4"),
    "scheduled": (_("Scheduled"), "M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 1.5v3M10.5 1.5v3"),
    "doing": (_("Doing"), "M5 3v10l8-5z"),
    "stale": (_("Stale"), "M8 2 1.5 13.5h13zM8 6.5v3.5M8 12v.1"),
    "done": (_("Done"), "M2.5 8.5l3.5 3.5 7.5-8"),
    "failed": (_("Failed"), "M3.5 3.5l9 9M12.5 3.5l-9 9"),
    "stopped": (_("Stopped"), "M4 4h8v8H4z"),
    "marked": (_("Marked done"), "M2.5 8h11"),
}


def look(row: Row, now: datetime.datetime) -> str:
    """Return how a row is shown: the name of one of ``LOOKS``."""
    if row.status == states.DOING:
        return "stale" if row.auto_reset_time and row.auto_reset_time < now else "doing"
    if row.status != states.DONE:
        return _look_of_ready(row, now)
    if states.is_stopped(row):
        return "stopped"
    return {True: "done", False: "failed", None: "marked"}[row.success]


def _look_of_ready(row: Any, now: datetime.datetime) -> str:
    if row._is_durable and row.attempts:
        return "retrying"
    return "scheduled" if waits_for_its_time(row, now) else "ready"


def waits_for_its_time(row: Any, now: datetime.datetime) -> bool:
    """Tell whether a row is READY and not due yet; of a durable row alone this is known."""
    if not row._is_durable or row.status != states.READY:
        return False
    return row.run_after is not None and row.run_after > now


def badge(name: str) -> SafeString:
    """Return a look as icon and word."""
    word, path = LOOKS[name]
    html = (
        '<span class="st2-badge st2-{}"><svg class="st2-icon" viewBox="0 0 16 16" '
        'aria-hidden="true"><path d="{}"/></svg>{}</span>'
    )
    return format_html(html, name, path, word)


def progress(row: Row, name: str) -> SafeString:
    """Return the steps as "1/2" and a bar: the steps behind the row, and the one it is in."""
    begun, last = row.current_step or 0, max(row.final_step, 1)
    behind = begun if name == "done" else max(begun - 1, 0)
    within = 0 if name in ("done", "ready", "marked") else begun - behind
    html = (
        '<span class="st2-progress st2-{}"><span class="st2-count">{}</span>'
        '<svg class="st2-bar" aria-hidden="true">'
        '<rect class="st2-track" width="100%" height="100%" rx="3"/>'
        '<rect class="st2-fill" width="{}%" height="100%" rx="3"/>'
        '<rect class="st2-part" x="{}%" width="{}%" height="100%" rx="3"/></svg></span>'
    )
    percents = (f"{100 * steps / last:.1f}" for steps in (behind, behind, within))
    return format_html(html, name, row.current_step_display(), *percents)


def lease(row: Row, now: datetime.datetime) -> SafeString | None:
    """Return how long the lease lasts, or when a READY row is published again."""
    until, is_doing = row.auto_reset_time, row.status == states.DOING
    if row.status == states.DONE or (is_doing and not until) or waits_for_its_time(row, now):
        return None
    if until is None or until < now:
        words = translate("due")
        if until:
            text = translate("over {time}") if is_doing else translate("due {time}")
            words = text.format(time=duration((now - until).total_seconds()))
        return format_html('<span class="st2-over">{}</span>', words)
    text = translate("{time} left") if is_doing else translate("again in {time}")
    before, _time, after = text.partition("{time}")
    left = int((until - now).total_seconds())
    html = '<span class="st2-lease{}" title="{}">{}<span data-st2-left="{}">{}</span>{}</span>'
    quiet = "" if is_doing else " st2-quiet"
    return format_html(html, quiet, moment(until), before, str(left), countdown(left), after)


def next_attempt(row: Any, now: datetime.datetime) -> SafeString | None:
    """Return when a row that waits for its time is due; None of any other row."""
    if not waits_for_its_time(row, now):
        return None
    left = int((row.run_after - now).total_seconds())
    if left >= 24 * 3600:
        return format_html('<span class="st2-day">{}</span> {}', *moment(row.run_after).split())
    before, _time, after = translate("in {time}").partition("{time}")
    html = '<span class="st2-lease" title="{}">{}<span data-st2-left="{}">{}</span>{}</span>'
    return format_html(html, moment(row.run_after), before, str(left), countdown(left), after)


def waited(row: Row, now: datetime.datetime) -> str:
    """Return the time from the row's making to the start of its run, or to its end."""
    started = row.start_time if row.status != states.READY else None
    return _between(row.add_time, started or row.done_time or now)


def ran(row: Row, now: datetime.datetime) -> str | None:
    """Return the time of the run until now or its end; None of a row never started."""
    if row.status == states.READY or row.start_time is None:
        return None
    return _between(row.start_time, row.done_time or now)


def _between(begin: datetime.datetime, end: datetime.datetime) -> str:
    return duration(max((end - begin).total_seconds(), 0.0))  # clocks of two machines


def duration(seconds: float | None) -> str:
    """Return seconds in words: in two units, or in one if there are ten or more of it.

    Below a second they are milliseconds.
    """
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return translate("{ms} ms").format(ms=round(seconds * 1000))
    if seconds < 10:
        return translate("{s} s").format(s=f"{seconds:.1f}")
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        text = translate("{d} d {h} h") if days < 10 else translate("{d} d")
    elif hours:
        text = translate("{h} h {m} min") if hours < 10 else translate("{h} h")
    elif minutes:
        text = translate("{m} min {s} s") if minutes < 10 else translate("{m} min")
    else:
        text = translate("{s} s")
    return text.format(d=days, h=hours, m=minutes, s=whole % 60)


def countdown(seconds: int) -> str:
    """Return seconds as a clock shows them, as the page's script does: 4:05, 1:00:00."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def added(row: Row) -> SafeString:
    """Return when the row was made; a narrow list may break it between day and time."""
    return format_html('<span class="st2-day">{}</span> {}', *moment(row.add_time).split())


def key(value: Any) -> SafeString | str:
    """Return a row's key; of a UUID its first digits, with the whole on hover and for readers."""
    if not isinstance(value, uuid.UUID):
        return str(value)
    html = (
        '<span class="st2-key" title="{}"><span aria-hidden="true">{}…</span>'
        '<span class="visually-hidden">{}</span></span>'
    )
    return format_html(html, value, str(value)[:8], value)


def local(time: datetime.datetime) -> datetime.datetime:
    """Return a time in the time zone of the page; without USE_TZ it is in that already."""
    return timezone.localtime(time) if timezone.is_aware(time) else time


def moment(time: datetime.datetime) -> str:
    """Return a time to the second, in the time zone of the page."""
    return f"{local(time):%Y-%m-%d %H:%M:%S}"
