"""Prometheus metrics: counters of signals, and gauges of the rows.

Needs the extra ``simpletask2-celery[metrics]``. ``connect()``, once in each web process and
worker, has it count; ``view`` shows all metrics to Prometheus. With PROMETHEUS_MULTIPROC_DIR
set, as prometheus_client has it, all processes of a machine are counted together: the
children of a worker are processes of their own.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
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
    *(60, 120, 300, 600, 1800, 3600),
)
_ROW = ("model", "channel")
_STEP = ("model", "step")
_OF_DURABLE = ("retrying", "scheduled")  # counts that durable models alone have
_SUCCESS = {True: "true", False: "false", None: "unknown"}

#: What each gauge says, and its labels.
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rows": (
        "Rows by status; of large tables those DONE are an estimate.",
        (*_ROW, "status"),
    ),
    "failed_rows": ("Rows that are DONE and have failed.", _ROW),
    "stale_rows": ("DOING rows whose lease is over.", _ROW),
    "retrying_rows": ("READY rows of a durable model that have begun to run before.", _ROW),
    "scheduled_rows": ("READY rows whose first run is to come at a time ahead.", _ROW),
    "oldest_ready_seconds": ("Seconds since the oldest READY row was added, or was due.", _ROW),
    "rows_up": ("Whether a model's rows could be counted.", ("model",)),
    "queue_messages": ("Messages that wait in the queue of a channel.", ("channel",)),
    "queue_workers": ("Celery workers that answer and serve the queue of a channel.", ("channel",)),
    "broker_up": ("Whether the broker answers.", ()),
    "workers": ("Celery workers that answer.", ()),
    "last_reset_seconds": ("Seconds since the last reset.", ()),
}

Values = Mapping[Any, float | None]  # of a gauge, by the tuple of its labels' values
Metric = tuple[Any, tuple[str, ...], str | None]


def _counter(name: str, text: str, *more_labels: str) -> Metric:
    labels = (*_ROW, *more_labels)
    return Counter(f"simpletask2_{name}", text, labels), labels, None


def _histogram(name: str, text: str, seconds: str, labels: tuple[str, ...] = _ROW) -> Metric:
    metric = Histogram(f"simpletask2_{name}_seconds", text, labels, buckets=_SECONDS)
    return metric, labels, seconds


#: What a signal is counted in: a metric, its labels, and the seconds that it observes.
_METRICS: dict[signals.TaskSignal, list[Metric]] = {
    signals.task_published: [_counter("published", "Rows handed to the broker.")],
    signals.task_started: [
        _counter("started", "Runs that have claimed a row."),
        _histogram("wait", "Seconds from the making of a row to its claim.", "waited"),
    ],
    signals.step_finished: [
        _histogram("step", "Seconds that the handler of a step took.", "seconds", _STEP),
        _histogram(
            "request",
            "Seconds that the proxy request after a step took.",
            "request_seconds",
            _STEP,
        ),
        _counter("proxy_requests", "Proxy requests by outcome: answer or error.", "outcome"),
    ],
    signals.task_finished: [
        _counter("finished", "Rows that are DONE.", "success"),
        _histogram("run", "Seconds from the claim of a row to its end.", "seconds"),
    ],
    signals.task_reset: [_counter("reset", "Rows made READY again.", "reason")],
    signals.task_retried: [_counter("task_retries", "Attempts that failed and are made again.")],
    signals.task_cancelled: [_counter("cancelled", "Rows that cancel() has made DONE.")],
}


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
    for signal in _METRICS:
        signal.connect(_count)
    worker_ready.connect(_look_at_pool)


def _count(sender: Any, signal: Any, **event: Any) -> None:
    """Count an event in each metric of its signal."""
    event["model"] = event["label"]
    event["channel"] = _label(event["channel"])
    event["success"] = _SUCCESS[event.get("success")]
    if event.get("request_seconds") is not None:
        event["outcome"] = "answer" if event["request_error"] is None else "error"
    if signal is signals.task_started:
        waited = (event["row"].start_time - event["row"].add_time).total_seconds()
        event["waited"] = max(waited, 0.0)  # by two clocks
    for metric, labels, seconds in _METRICS[signal]:
        if not event.keys() >= {*labels}:  # a step without a request has no outcome
            continue
        series = metric.labels(*(event[name] for name in labels))
        if seconds is None:
            series.inc()
        elif event[seconds] is not None:
            series.observe(event[seconds])


_channels: set[str] = set()


def _label(channel: str) -> str:
    """Return a channel as a label. Prometheus keeps a series of each label for ever."""
    channel = task_info.short(channel)
    if channel not in _channels:
        if len(_channels) >= CHANNELS:
            return OTHERS
        _channels.add(channel)
    return channel


def _look_at_pool(sender: Any, **kwargs: object) -> None:
    if "prefork" in type(sender.pool).__module__ and FOLDER not in os.environ:
        text = "%s is not set: what this worker's child processes count is in no metric."
        logger.warning(text, FOLDER)


Join = Callable[[list[float]], float]


def _joined(pairs: Iterable[tuple[Any, Any]], join: Join = sum) -> Values:
    """Return {labels: value}; join the values of the same labels, leave out those not known."""
    values = defaultdict(list)
    for labels, value in pairs:
        if value is not None:
            values[labels].append(value)
    return {labels: join(of_labels) for labels, of_labels in values.items()}


def _counts(now: figures.Figures, what: str, join: Join = sum) -> Values:
    """Return a count of each model, over all databases, by channel where it is known so.

    Of function tasks, a count of each function.
    """
    pairs = []
    for table in now.models:
        if table.kinds:
            pairs += [((kind.name, ALL), getattr(kind, what)) for kind in table.kinds]
            continue
        if what in _OF_DURABLE and not table.model._is_durable:
            continue
        by_channel = [] if what in ("done", "failed") else table.channels
        if table.total is not None and not by_channel:
            by_channel = [replace(table.total, channel=ALL)]
        for counts in by_channel:
            label = _label(counts.channel) if counts.channel else OTHERS
            pairs.append(((table.name, label), getattr(counts, what)))
    return _joined(pairs, join)


class Rows:
    """A collector of the gauges: what rows, queues and workers are like now.

    Asks databases and broker at each scrape, within four seconds. What is not known has
    no sample.
    """

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family of samples for each gauge."""
        now = figures.read(history=False)
        by_status = {
            (*where, status): rows
            for status in ("ready", "doing", "done")
            for where, rows in _counts(now, status).items()
        }
        oldest = _counts(now, "oldest_ready_seconds", max)
        down = {table.name for table in now.models if table.total is None}
        up = {(table.name,): table.name not in down for table in now.models}
        queues = (now.queues or {}).items()
        lengths = _joined(((_label(name),), n) for name, n in queues if n < float("inf"))
        workers = None if now.workers is None else len(now.workers)
        serving = _joined((((_label(one.channel),), one.workers) for one in now.served or ()), min)
        gauges: dict[str, Values] = {
            "rows": by_status,
            "failed_rows": _counts(now, "failed"),
            "stale_rows": _counts(now, "stale"),
            "retrying_rows": _counts(now, "retrying"),
            "scheduled_rows": _counts(now, "scheduled"),
            "oldest_ready_seconds": oldest,
            "rows_up": up,
            "queue_messages": lengths,
            "queue_workers": serving,
            "broker_up": {(): now.broker is None},
            "workers": {(): workers},
            "last_reset_seconds": {(): now.last_reset},
        }
        for name, values in gauges.items():
            text, labels = _GAUGES[name]
            family = GaugeMetricFamily(f"simpletask2_{name}", text, labels=labels)
            for where, value in values.items():
                if value is not None:
                    family.add_metric(where, value)
            yield family


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
