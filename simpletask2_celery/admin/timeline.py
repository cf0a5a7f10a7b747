"""The timeline of a row's run: what its columns say of it, and no more.

No column says when a row was published. A READY row says when it will be published again;
its ``task_wait_timeout`` before that, it was published last.
"""

import datetime
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from ..rows import states
from ..rows.model import Row
from . import cells

SECOND = datetime.timedelta(seconds=1)

#: look, or "due" of a row that is ready and late → what it waits for, or how it ended.
EXPLANATIONS = {
    "ready": _("It waits for a worker. If none takes it, it is published again at {time}."),
    "due": _(
        "No worker has taken it in time. The next auto-reset publishes it again, "
        "unless its queue is so long that its message still waits in it."
    ),
    "doing": _("A worker runs it and holds it until {time}, or longer where it renews its lease."),
    "stale": _(
        "Its worker has neither ended nor renewed its lease: the run is taken for "
        "lost. The next auto-reset makes the row ready and publishes it again."
    ),
    "failed": _(
        "A handler raised, or its runs were lost too often. The worker's log says which, "
        "under {task}."
    ),
    "stopped": _("Somebody stopped it. The history of this page says who."),
    "marked": _("It was marked done; whether it has succeeded is not known."),
    "done": _("It has run to its end."),
}


class Line(NamedTuple):
    """A line of the timeline: a moment, or with an ``end`` the time up to it."""

    title: str
    look: str
    begin: datetime.datetime
    end: datetime.datetime | None = None
    is_about: bool = False


def lines(row: Row, now: datetime.datetime) -> Iterator[Line]:
    """Yield what happened to the row, in its order."""
    look, end = cells.look(row, now), row.done_time or now
    is_ready = row.status == states.READY
    started = None if is_ready else row.start_time
    yield Line(translate("Created"), "ready", row.add_time)
    yield Line(translate("Waiting"), "ready", row.add_time, started or end)
    if not is_ready:
        yield from _steps(row, look, end)
    elif row.auto_reset_time is not None:
        wait = datetime.timedelta(seconds=row.get_task_wait_timeout())
        published = row.auto_reset_time - wait
        if row.add_time + SECOND < published <= now:  # again, and not only when it was made
            yield Line(translate("Published again"), "ready", published, is_about=True)
    if row.status == states.DONE and row.done_time:
        yield Line(str(cells.LOOKS[look][0]), look, row.done_time)


def _steps(row: Row, look: str, end: datetime.datetime) -> Iterator[Line]:
    """Yield the steps that have a time: none of a row that was made DONE without a run."""
    times = (row.step1_time or row.start_time, row.step2_time, row.step3_time)
    steps = [(step, time) for step, time in enumerate(times, 1) if time]
    ends = [*(time for _step, time in steps[1:]), end]
    for (step, begin), until in zip(steps, ends, strict=False):
        title = translate("Step {step}").format(step=step)
        if step == 3 and (row.current_step or 0) > 3:  # whose times have no column
            title = translate("Steps 3 to {step}").format(step=row.current_step)
        is_last = step == steps[-1][0]
        yield Line(title, look if is_last else "done", begin, until)


def draw(row: Row, now: datetime.datetime) -> list[dict[str, Any]]:
    """Return the lines as the page shows them; ``x`` and ``width`` are percents of all the time."""
    begin, events = row.add_time, list(lines(row, now))
    whole = max(max(line.end or line.begin for line in events) - begin, SECOND / 1000)

    def percent(time: datetime.datetime) -> float:
        return min(max((time - begin) / whole * 100, 0), 100)

    def bar(line: Line) -> dict[str, Any]:
        x = percent(line.begin)
        if line.end is None:
            return {"x": f"{x:.2f}", "width": None, "lasted": ""}
        width = max(percent(line.end) - x, 0.5)
        lasted = cells.duration((line.end - line.begin) / SECOND)
        return {"x": f"{min(x, 99.5):.2f}", "width": f"{width:.2f}", "lasted": lasted}

    return [
        {
            "title": line.title,
            "look": line.look,
            "at": ("≈ " if line.is_about else "") + cells.moment(line.begin),
            "after": "+ " + cells.duration(max((line.begin - begin) / SECOND, 0)),
            **bar(line),
        }
        for line in events
    ]


def explanation(row: Row, look: str, now: datetime.datetime) -> str:
    """Return what the row waits for, or how it ended, and what would help."""
    time = row.auto_reset_time
    is_due = look == "ready" and (time is None or time < now)
    text = str(EXPLANATIONS["due" if is_due else look])
    return text.format(time=cells.moment(time) if time else "–", task=row.get_task_info())
