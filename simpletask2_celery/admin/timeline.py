"""The timeline of a row's run: what its columns say of it, and no more.

Nobody writes down when a row was published. What a READY row tells is when it will be
published again, and so, less its ``task_wait_timeout``, when it was the last time.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as translate

from ..rows import states
from ..rows.model import Row
from . import cells

SECOND = datetime.timedelta(seconds=1)


@dataclass(frozen=True)
class Line:
    """A line of the timeline: a moment, or with an ``end`` the time up to it."""

    title: str
    look: str
    begin: datetime.datetime
    end: datetime.datetime | None = None
    is_about: bool = False


@dataclass(frozen=True)
class Drawn:
    """A line as the page shows it; ``x`` and ``width`` are percents of the whole."""

    title: str
    look: str
    at: str
    after: str
    lasted: str
    x: str
    width: str | None


def lines(row: Row, now: datetime.datetime) -> list[Line]:
    """Return what happened to the row, in its order."""
    look = cells.look(row, now)
    found = [Line(translate("Created"), "ready", row.add_time)]
    started = row.start_time if row.status != states.READY else None
    until = started or row.done_time or now
    found.append(Line(translate("Waiting"), "ready", row.add_time, until))
    if row.status == states.READY and (again := _published(row, now)):
        found.append(Line(translate("Published again"), "ready", again, None, True))
    found += _steps(row, look, row.done_time or now)
    if row.status == states.DONE and row.done_time:
        found.append(Line(str(cells.LOOKS[look][0]), look, row.done_time))
    return found


def _published(row: Row, now: datetime.datetime) -> datetime.datetime | None:
    """Return when a READY row was published last, if that is not when it was made."""
    if row.auto_reset_time is None:
        return None
    wait = datetime.timedelta(seconds=row.get_task_wait_timeout())
    last = row.auto_reset_time - wait
    return last if row.add_time + SECOND < last <= now else None


def _steps(row: Row, look: str, end: datetime.datetime) -> Iterator[Line]:
    """Yield the steps that have a time; the last of them lasts to the end."""
    if row.status == states.READY:
        return
    times: Any = [(1, row.step1_time or row.start_time)]
    times += [(2, row.step2_time), (3, row.step3_time)]
    known = [(step, time) for step, time in times if time]
    if not known:  # made DONE without a run
        return
    ends = [*(time for _step, time in known[1:]), end]
    for (step, begin), until in zip(known, ends, strict=True):
        title = translate("Step {step}").format(step=step)
        if step == 3 and (row.current_step or 0) > 3:  # whose times have no column
            title = translate("Steps 3 to {step}").format(step=row.current_step)
        is_last = step == known[-1][0]
        yield Line(title, look if is_last else "done", begin, until)


def draw(row: Row, now: datetime.datetime) -> list[Drawn]:
    """Return the lines with their bars, from the row's making to now or its end."""
    found = lines(row, now)
    begin = row.add_time
    whole = max(line.end or line.begin for line in found) - begin
    whole = max(whole, datetime.timedelta(milliseconds=1))

    def percent(time: datetime.datetime) -> float:
        return min(max((time - begin) / whole * 100, 0), 100)

    drawn = []
    for line in found:
        x = percent(line.begin)
        width = None if line.end is None else max(percent(line.end) - x, 0.5)
        lasted = line.end and cells.duration((line.end - line.begin) / SECOND)
        drawn.append(
            Drawn(
                title=line.title,
                look=line.look,
                at=("≈ " if line.is_about else "") + cells.moment(line.begin),
                after="+ " + cells.duration(max((line.begin - begin) / SECOND, 0)),
                lasted=lasted or "",
                x=f"{x if width is None else min(x, 99.5):.2f}",
                width=None if width is None else f"{width:.2f}",
            )
        )
    return drawn


def explanation(row: Row, look: str, now: datetime.datetime) -> str:
    """Return what the row waits for, or how it ended, and what would help."""
    if look == "ready" and row.auto_reset_time and row.auto_reset_time >= now:
        text = translate(
            "It waits for a worker. If none takes it, it is published again at {time}."
        )
    elif look == "ready":
        text = translate(
            "No worker has taken it in time. The next auto-reset publishes it again, "
            "unless its queue is so long that its message still waits in it."
        )
    elif look == "doing":
        text = translate(
            "A worker runs it and holds it until {time}, or longer where it renews its lease."
        )
    elif look == "stale":
        text = translate(
            "Its worker has neither ended nor renewed its lease: the run is taken for "
            "lost. The next auto-reset makes the row ready and publishes it again."
        )
    elif look == "failed":
        text = translate(
            "A handler raised, its runs were lost too often, or somebody stopped it. The "
            "worker's log says which, under {task}, or the history of this page."
        )
    elif look == "marked":
        text = translate("It was marked done; whether it has succeeded is not known.")
    else:
        text = translate("It has run to its end.")
    time = cells.moment(row.auto_reset_time) if row.auto_reset_time else "–"
    return text.format(time=time, task=row.get_task_info())
