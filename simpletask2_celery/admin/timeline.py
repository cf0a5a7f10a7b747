"""The timeline of a row's run: what its columns say of it, and no more.

No column says when a row was published. A READY row says when it will be published again;
its ``task_wait_timeout`` before that, it was published last. A durable row also remembers when its
attempts failed.
"""

import datetime
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from ..recovery import requests_out
from ..rows import states
from ..rows.model import Row
from . import attempts, cells

SECOND = datetime.timedelta(seconds=1)

#: look, or "due" of a row that is ready and late → what it waits for, or how it ended.
EXPLANATIONS = {
    "ready": _("It waits for a worker. If none takes it, it is published again at {time}."),
    "later": _("It waits for its time: it is not run before {time}."),
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
    "remembered": _("The newest of its errors, below, says why."),
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


def lines(row: Row, now: datetime.datetime) -> Iterable[Line]:
    """Return what happened to the row, in its order, and when it is tried again."""
    failed = [Line(title, "failed", time) for title, time in attempts.failures(row)]
    happened = sorted([*failed, *_of_state(row, now)], key=attrgetter("begin"))
    if cells.waits_for_its_time(row, now):
        title, time = translate("Next attempt"), vars(row)["run_after"]
        happened.append(Line(title, cells.look(row, now), time))
    return happened


def _of_state(row: Row, now: datetime.datetime) -> Iterator[Line]:
    """Yield what the columns of the state say of the row, in its order."""
    look, end = cells.look(row, now), row.done_time or now
    is_ready = row.status == states.READY
    started = None if is_ready else row.start_time
    yield Line(translate("Created"), "ready", row.add_time)
    yield Line(translate("Waiting"), "ready", row.add_time, started or end)
    if not is_ready:
        yield from _steps(row, look, end)
    elif row.auto_reset_time is not None and not cells.waits_for_its_time(row, now):
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
    out = requests_out.times(row)
    ends = [*(time for _step, time in steps[1:]), end]
    for (step, begin), until in zip(steps, ends, strict=False):
        title = translate("Step {step}").format(step=step)
        if step == 3 and (row.current_step or 0) > 3:  # whose times have no column
            title = translate("Steps 3 to {step}").format(step=row.current_step)
        is_last = step == steps[-1][0]
        yield Line(title, look if is_last else "done", begin, until)
        for asked in [one for one in out if one == step or (step == 3 and one > step)]:
            went, back = out[asked][0], out[asked][1:]
            yield Line(translate("Request out"), "doing", went, back[0] if back else end)


def draw(row: Row, now: datetime.datetime) -> list[dict[str, Any]]:
    """Return the lines as the page shows them; ``x`` and ``width`` are percents of all the time."""
    begin, events = row.add_time, list(lines(row, now))
    # What is to come stands at the end, and does not press the past together.
    past = [line.end or line.begin for line in events if line.begin <= now]
    whole = max(max(past, default=now) - begin, SECOND / 1000)

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
    time, name = row.auto_reset_time, look
    if cells.waits_for_its_time(row, now):
        time, name = vars(row)["run_after"], "later"
    elif row.status == states.READY:
        name = "due" if time is None or time < now else "ready"
    elif look == "failed" and any(attempts.failures(row)):
        name = "remembered"
    text = str(EXPLANATIONS[name])
    return text.format(time=cells.moment(time) if time else "–", task=row.get_task_info())
