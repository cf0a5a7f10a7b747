"""Every setting of the package; no other module reads them, but for the checks.

A setting is read once, when it is first used: to find that Django has none takes microseconds,
and a row asks for ten. Tests that override a setting, as Django does it, are noticed.
"""

from dataclasses import dataclass
from string import Formatter
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

PREFIX = "DJANGO_SIMPLETASK2_"
T = TypeVar("T", str, int, float, bool, tuple[str, ...])


@dataclass
class Setting(Generic[T]):
    """One optional setting of Django."""

    default: T
    takes: str  # in words
    choices: tuple[str, ...] = ()  # the values that it may have, if these are few
    placeholders: tuple[str, ...] = ()  # of a template
    fallback: str | None = None  # the setting of Django that holds the default
    or_none: bool = False  # None is its default in other words

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = PREFIX + name.upper()

    def __get__(self, instance: object, owner: type) -> T:
        if instance is None:  # an attribute of the class
            return self  # type: ignore[return-value]
        default = getattr(settings, self.fallback) if self.fallback else self.default
        value: T = getattr(settings, self.name, default)
        if problem := self.problem_with(value):
            raise ImproperlyConfigured(problem)
        vars(instance)[self.attribute] = value  # which Python finds first from now on
        return value

    def problem(self) -> str | None:
        """Return what is wrong with the project's value; None if nothing is."""
        return self.problem_with(getattr(settings, self.name, self.default))

    def problem_with(self, value: object) -> str | None:
        """Return what is wrong with ``value`` for this setting; None if nothing is."""
        problem = f"{self.name} takes {self.takes}, not {type(value).__name__}."
        return None if self._accepts(value) else problem

    def _accepts(self, value: Any) -> bool:
        if value is None and self.or_none:
            return True
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        if isinstance(self.default, tuple):
            return isinstance(value, (list, tuple)) and all(
                isinstance(name, str) and name and (not self.choices or name in self.choices)
                for name in value
            )
        if self.choices:
            return value in self.choices
        if isinstance(self.default, str):
            return isinstance(value, str) and (not self.placeholders or self._is_template(value))
        numbers = (int, float) if isinstance(self.default, float) else int
        is_number = isinstance(value, numbers) and not isinstance(value, bool)
        return is_number and (0 < value < float("inf") or value == self.default)

    def _is_template(self, value: str) -> bool:
        try:
            names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError:
            return False
        # Without its placeholder a template would send every channel to one place.
        return bool(names) and names <= {*self.placeholders}


def _by_channel(default: str) -> Setting[str]:
    return Setting(default, "a str with {channel}", placeholders=("channel",))


class Conf:
    """The settings by name, in lower case and without their prefix."""

    redis_name = Setting("default", "the alias of a django-redis cache (str)")
    task_wait_timeout_key_template = _by_channel("django-simpletask2:task-wait-timeout:{channel}")
    do_task_timeout_key_template = _by_channel("django-simpletask2:do-task-timeout:{channel}")
    queue_template = _by_channel("simpletask2.{channel}")
    publish_to = Setting("celery", '"celery", "redis" or "both"', ("celery", "redis", "both"))
    shortcuts = Setting(True, "True or False")
    publish_timeout = Setting(1.2, "a number of seconds above 0")
    legacy_channels = Setting[tuple[str, ...]]((), "a list of channels (str)")
    channel_name_template = _by_channel("django-simpletask2:channels:{channel}")
    channel_flags_template = _by_channel("django-simpletask2:channel-flags:{channel}")
    proxy_timeout = Setting(30.0, "a number of seconds above 0")
    proxy_max_size = Setting(10 * 1024 * 1024, "a number of bytes above 0 (int)")
    proxy_allowed_schemes = Setting[tuple[str, ...]](
        (), 'a list of "http" and "https"', choices=("http", "https")
    )
    proxy_allowed_hosts = Setting[tuple[str, ...]]((), "a list of hosts (str)")
    proxy_refuse_private = Setting(False, "True or False")
    proxy_queue = Setting("", "the name of a queue (str) or None", or_none=True)
    do_auto_reset = Setting(True, "True or False")
    auto_reset_interval = Setting(60.0, "a number of seconds above 0")
    heartbeat = Setting(0.0, "a number of seconds, 0 for none")
    enforce_timeout = Setting(False, "True or False")
    max_lost_runs = Setting(5, "a number above 0 (int)")
    unserved_timeout = Setting(300.0, "a number of seconds above 0")
    aclkey = Setting("", "a str", fallback="SECRET_KEY")
    task_pull_timeout = Setting(5, "a number of seconds above 0 (int)")

    # Settings of the original that nothing here uses. A project may keep them; their types are
    # checked.
    channel_name_strip_regex = Setting(
        "^django-simpletask2:channels:(?P<channel>.*)$", "a regular expression (str)"
    )
    task_lock_name_template = Setting(
        "django-simpletask2:locks:{app_label}.{model_name}:{task_id}",
        "a str with {app_label}, {model_name} and {task_id}",
        placeholders=("app_label", "model_name", "task_id"),
    )


conf = Conf()


def all_settings() -> list[Setting[Any]]:
    """Return every setting, in the order of the class above."""
    return [item for item in vars(Conf).values() if isinstance(item, Setting)]


@receiver(setting_changed)
def _forget(**_: Any) -> None:
    vars(conf).clear()
