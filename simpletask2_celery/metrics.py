"""Prometheus metrics: what processes count of the signals, and what the rows are now.

Needs the extra ``simpletask2-celery[metrics]``. ``connect()`` once in each process, web and
worker, has them count; ``view`` shows it all to Prometheus. With PROMETHEUS_MULTIPROC_DIR
set, as prometheus_client has it, all processes of a machine are counted together: the
children of a worker are processes of their own.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from operator import add
from pathlib import Path
from typing import Any

from celery.signals import worker_ready
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.multiprocess import MultiProcessCollector
except ImportError as error:
    raise ImportError(
        "simpletask2_celery.metrics needs prometheus-client: "
        "pip install 'simpletask2-celery[metrics]'"
    ) from error

from . import signals
from .rows import task_info
from .watching import figures

logger = logging.getLogger(__name__)

CHANNELS = 100  # channels that a process tells apart
OTHERS = "(others)"  # the channel of all that come later
ALL = "(all)"  # of what is not known by channel
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 120, 300, 600, 1800, 3600, float("inf")),
)
_ROW = ("model", "channel")

Values = Mapping[Any, float | None]  # of a gauge, by the tuple of its labels' values

_published = Counter("simpletask2_published", "Rows handed to the broker.", _ROW)
_started = Counter("simpletask2_started", "Runs that have claimed a row.", _ROW)
_finished = Counter("simpletask2_finished", "Rows that are DONE.", (*_ROW, "success"))
_reset = Counter("simpletask2_reset", "Rows made READY again.", (*_ROW, "reason"))
_wait = Histogram(
    "simpletask2_wait_seconds",
    "Seconds from the making of a row to its claim.",
    _ROW,
    buckets=_SECONDS,
)
_run = Histogram(
    "simpletask2_run_seconds",
    "Seconds from the claim of a row to its end.",
    _ROW,
    buckets=_SECONDS,
)
_step = Histogram(
    "simpletask2_step_seconds",
    "Seconds that the handler of a step took.",
    ("model", "step"),
    buckets=_SECONDS,
)
_request = Histogram(
    "simpletask2_request_seconds",
    "Seconds that the proxy request after a step took.",
    ("model", "step"),
    buckets=_SECONDS,
)


def connect() -> None:
    """Count in this process from now on, and in those that it forks.

    For the ``ready()`` of an app of the project's; a second call does nothing. Raises
    ImproperlyConfigured where PROMETHEUS_MULTIPROC_DIR is no folder.
    """
    folder = os.environ.get(FOLDER)
    if folder is not None and not Path(folder).is_dir():
        raise ImproperlyConfigured(
            f"{FOLDER} is {folder!r}, which is no folder: make an empty one before the "
            "processes of the project start."
        )
    signals.task_published.connect(_count_published)
    signals.task_started.connect(_count_started)
    signals.step_finished.connect(_count_step)
    signals.task_finished.connect(_count_finished)
    signals.task_reset.connect(_count_reset)
    worker_ready.connect(_look_at_pool)


class Rows:
    """A collector of the gauges: what rows, queues and workers are like now.

    Asks databases and broker at each scrape, within four seconds. What is not known has
    no sample.
    """

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family of samples for each gauge."""
        now = figures.read(history=False)
        yield _gauge(
            "rows",
            "Rows by status; of large tables those DONE are an estimate.",
            {
                (*where, status): rows
                for status in ("ready", "doing", "done")
                for where, rows in _counts(now, status).items()
            },
            (*_ROW, "status"),
        )
        text = "Rows that are DONE and have failed."
        yield _gauge("failed_rows", text, _counts(now, "failed"), _ROW)
        text = "DOING rows whose lease is over."
        yield _gauge("stale_rows", text, _counts(now, "stale"), _ROW)
        text = "Seconds since the oldest READY row was added."
        oldest = _counts(now, "oldest_ready_seconds", max)
        yield _gauge("oldest_ready_seconds", text, oldest, _ROW)
        yield from self._outside(now)

    def _outside(self, now: figures.Figures) -> Iterator[GaugeMetricFamily]:
        up: dict[tuple[str], bool] = {}
        for one in now.models:
            up[(one.name,)] = up.get((one.name,), True) and one.total is not None
        yield _gauge("rows_up", "Whether a model's rows could be counted.", up, ("model",))
        queues: dict[tuple[str], float] = {}
        for channel, length in (now.queues or {}).items():
            if length != float("inf"):
                label = (_label(channel),)
                queues[label] = queues.get(label, 0) + length
        text = "Messages that wait in the queue of a channel."
        yield _gauge("queue_messages", text, queues, ("channel",))
        broker = {(): now.broker is None}
        yield _gauge("broker_up", "Whether the broker answers.", broker)
        workers = {(): None if now.workers is None else len(now.workers)}
        yield _gauge("workers", "Celery workers that answer.", workers)
        reset = {(): now.last_reset}
        yield _gauge("last_reset_seconds", "Seconds since the last reset.", reset)


def registry() -> CollectorRegistry:
    """Return what holds the counters and histograms of this process.

    With PROMETHEUS_MULTIPROC_DIR, those of all processes that share the folder. Asks no
    database, so a worker may serve it from a thread.
    """
    if FOLDER not in os.environ:
        return REGISTRY
    all_processes = CollectorRegistry()
    MultiProcessCollector(all_processes)  # type: ignore[no-untyped-call]
    return all_processes


@require_safe
def view(request: HttpRequest) -> HttpResponse:
    """Show the metrics to Prometheus: to whoever asks, so protect the URL."""
    everything = CollectorRegistry()
    everything.register(registry())
    everything.register(Rows())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(everything), content_type=content_type)


#: Prometheus cannot log in: LoginRequiredMiddleware leaves the view to its URL's guard.
view.login_required = False  # type: ignore[attr-defined]


def _gauge(name: str, text: str, values: Values, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"simpletask2_{name}", text, labels=labels)
    for where, value in values.items():
        if value is not None:
            family.add_metric(where, value)
    return family


def _counts(now: figures.Figures, what: str, join: Callable[[float, float], float] = add) -> Values:
    """Return a count of each model, over all databases, by channel where it is known so."""
    found: dict[tuple[str, str], float] = {}
    for one in now.models:
        by_channel = [] if what in ("done", "failed") else one.channels
        if one.total is not None and not by_channel:
            by_channel = [replace(one.total, channel=ALL)]
        for count in by_channel:
            label = _label(count.channel) if count.channel else OTHERS
            where, value = (one.name, label), getattr(count, what)
            if value is not None:
                found[where] = join(found[where], value) if where in found else value
    return found


# -- receivers ---------------------------------------------------------------------------


def _count_published(sender: Any, channel: str, **kwargs: object) -> None:
    _published.labels(*_of(sender, channel)).inc()


def _count_started(sender: Any, channel: str, row: Any, **kwargs: object) -> None:
    labels = _of(sender, channel)
    _started.labels(*labels).inc()
    _wait.labels(*labels).observe(
        max((row.start_time - row.add_time).total_seconds(), 0.0)  # by two clocks
    )


def _count_step(
    sender: Any, step: int, seconds: float, request_seconds: float | None, **kwargs: object
) -> None:
    model = sender._meta.label_lower
    _step.labels(model, step).observe(seconds)
    if request_seconds is not None:
        _request.labels(model, step).observe(request_seconds)


def _count_finished(
    sender: Any,
    channel: str,
    success: bool | None,
    seconds: float | None,
    **kwargs: object,
) -> None:
    labels = _of(sender, channel)
    known = {True: "true", False: "false", None: "unknown"}
    _finished.labels(*labels, known[success]).inc()
    if seconds is not None:
        _run.labels(*labels).observe(seconds)


def _count_reset(sender: Any, channel: str, reason: str, **kwargs: object) -> None:
    _reset.labels(*_of(sender, channel), reason).inc()


_channels: set[str] = set()


def _of(model: Any, channel: str) -> tuple[str, str]:
    """Return the labels of a row."""
    return model._meta.label_lower, _label(channel)


def _label(channel: str) -> str:
    """Return a channel as a label: Prometheus keeps a series of each for ever."""
    channel = task_info.short(channel)
    if channel not in _channels:
        if len(_channels) >= CHANNELS:
            return OTHERS
        _channels.add(channel)
    return channel


def _look_at_pool(sender: Any, **kwargs: object) -> None:
    if "prefork" in type(sender.pool).__module__ and FOLDER not in os.environ:
        logger.warning(
            "%s is not set: what this worker's child processes count is in no metric.",
            FOLDER,
        )
