"""The YAML file of django-simpletask2-server, as Celery's settings.

A project loads it after ``config_from_object``::

    app.conf.update(config_file.load("etc/django-simpletask2-server-config.yml"))
"""

from pathlib import Path
from typing import Any

from celery import current_app
from kombu.entity import Exchange, Queue

from ..conf import conf
from ..recovery import schedule
from .yaml_file import KEYS, ConfigFileError, broker_url, channels, log_unused, read

__all__ = ["KEYS", "ConfigFileError", "celery_settings", "load"]


def load(path: str | Path) -> dict[str, Any]:
    """Return the Celery settings that the file asks for, for ``app.conf.update``.

    What the file leaves out is not among them. ``beat_schedule`` holds the app's own
    entries, too. Keys without a meaning under Celery are named once in the log.

    Raises ConfigFileError for a file that is missing, no YAML or not of this kind.
    """
    values = read(path)
    log_unused(values, str(path))
    return celery_settings(values)


def celery_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the Celery settings for checked values."""
    settings: dict[str, Any] = {}
    queues = [
        conf.queue_template.format(channel=name)
        if name != "default"
        else str(current_app.conf.task_default_queue)
        for name in channels(values.get("channels", ""))
    ]
    if "redis" in values:
        settings["broker_url"] = broker_url(values["redis"])
    if queues:
        settings["task_queues"] = [Queue(q, Exchange(q), routing_key=q) for q in queues]
    if "threads" in values:
        settings["worker_concurrency"] = values["threads"]
        settings["worker_pool"] = "threads"
    if not values.get("do-auto-reset-task", True):
        settings[schedule.WANTED] = False
    elif "auto-reset-task-interval" in values:
        queue = queues[0] if queues else None  # one that the workers of the file serve
        entry = schedule.entry(values["auto-reset-task-interval"], queue)
        settings["beat_schedule"] = {**current_app.conf.beat_schedule, schedule.ENTRY: entry}
    return settings
