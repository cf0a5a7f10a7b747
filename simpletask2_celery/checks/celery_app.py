"""The project's Celery app: which one publishes, and to which broker."""

from typing import Any

from celery import _state, current_app
from django.conf import settings

from ..publishing.broker import is_same, shown
from .handlers import leases
from .registry import Problems, check


@check(id="simpletask2_celery.W001")
def celery_app() -> Problems:
    """No Celery app of the project, so rows go to a broker that nobody set."""
    if not has_app():
        yield (
            "The project has not imported its Celery app: rows would be published to Celery's "
            "default broker.",
            'Put "from .celery import app as celery_app" into the __init__.py of the '
            "project's package.",
        )


@check(id="simpletask2_celery.W002")
def reuse_of_connections() -> Problems:
    """Celery closes the database connection around every task."""
    if has_app() and not current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield (
            "CELERY_DB_REUSE_MAX is not set: Celery opens a database connection for every task.",
            "Set CELERY_DB_REUSE_MAX = 100000 in the Django settings.",
        )


@check(id="simpletask2_celery.W003")
def visibility_timeout() -> Problems:
    """The broker delivers a message again before the lease is over."""
    transport = current_app.connection_for_write().transport_cls if has_app() else None
    if transport not in ("redis", "rediss", "sentinel", "sqs"):
        return
    default = 1800 if transport == "sqs" else 3600
    seconds = current_app.conf.broker_transport_options.get("visibility_timeout", default)
    for model, lease in leases():
        if lease > seconds:
            yield (
                f"{model.__name__} has do_task_timeout = {lease} s, but the broker's "
                f"visibility_timeout is {seconds} s: the messages of rows that run longer are "
                "delivered again, for nothing.",
                f'Set CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": {lease}}} or more.',
                model,
            )


@check(id="simpletask2_celery.W006", deploy=True)
def accepted_content() -> Problems:
    """The Celery app decodes more than JSON, or not even that."""
    if not has_app():
        return
    accepted = sorted({*map(str, current_app.conf.accept_content)})
    if not accepted or {*accepted} - {"json", "application/json"}:
        yield (
            f"The Celery app accepts {', '.join(accepted) or 'nothing'}: the messages of rows "
            "are JSON, and decoding a pickle runs what is in it.",
            'Set CELERY_ACCEPT_CONTENT = ["json"].',
        )


@check(id="simpletask2_celery.W008")
def apps_of_celery() -> Problems:
    """Two Celery apps with two brokers: which of them publishes depends on the thread."""
    default: Any = _state.default_app if _is_of_project(_state.default_app) else None
    here = _state._tls.current_app or _other_app(default)
    if here and not default:
        yield (
            f"Rows are published by the Celery app {here.main!r} in this thread, and to Celery's "
            "default broker in others: there is no default app.",
            "Set DJANGO_SETTINGS_MODULE in the environment before Celery() is called, or call "
            "set_default() of the app.",
        )
    elif here and not is_same(here.conf.broker_write_url, default.conf.broker_write_url):
        yield (
            f"Rows are published by the Celery app {here.main!r} in the thread that made it and by "
            f"{default.main!r} in others: their brokers are not the same.",
            f"Make the one that is not for rows with Celery({here.main!r}, set_as_current=False).",
        )


@check(id="simpletask2_celery.W014")
def broker_url() -> Problems:
    """A CELERY_BROKER_URL that the Celery app does not use."""
    url = getattr(settings, "CELERY_BROKER_URL", None)
    used = current_app.conf.get("broker_url") if url and has_app() else url
    if not is_same(url, used):
        yield (
            f"CELERY_BROKER_URL is {shown(url)}, but the Celery app has {shown(used)}.",
            "Keep one of them. app.conf.update(config_file.load(…)), app.conf.broker_url and "
            "Celery(broker=…) replace the setting, and it counts for nothing without "
            'app.config_from_object("django.conf:settings", namespace="CELERY").',
        )


def has_app() -> bool:
    """Tell whether the project has made a Celery app."""
    return _is_of_project(_state._tls.current_app or _state.default_app)


def _is_of_project(app: Any) -> bool:
    """Tell whether there is an app that Celery has not made where it found none."""
    return app is not None and app.main != "default"


def _other_app(default: Any) -> Any:
    """Return an app that publishes in the thread that made it, to another broker, or None."""
    apps = (app for app in _state._get_active_apps() if default and app.set_as_current)
    url = default and default.conf.broker_write_url
    return next((app for app in apps if _leads_elsewhere(app, url)), None)


def _leads_elsewhere(app: Any, url: Any) -> bool:
    try:
        return not is_same(app.conf.broker_write_url, url)
    except Exception:  # of a configuration that cannot be loaded: nobody uses this app
        return False
