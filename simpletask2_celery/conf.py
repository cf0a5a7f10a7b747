"""Every setting of the package, read once when it is first used: nothing else reads them.

A setting that is not there costs Django microseconds to find out, and a row asks for ten.
Tests that override one, as Django and pytest-django do, are noticed.
"""

from string import Formatter
from typing import Any, Generic, TypeVar, overload

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

PREFIX = "DJANGO_SIMPLETASK2_"
_NONE: frozenset[str] = frozenset()
_CHANNEL = frozenset({"channel"})
T = TypeVar("T", str, int, float, bool, tuple[str, ...])


class Setting(Generic[T]):
    """One optional setting: its default, its type and what else must hold.

    ``template`` are the placeholders of a template, ``choices`` the values of a
    setting that has few, ``fallback`` a setting of Django that holds the default.
    """

    def __init__(
        self,
        default: T,
        takes: str,
        template: frozenset[str] = frozenset(),
        choices: tuple[str, ...] = (),
        fallback: str | None = None,
    ) -> None:
        self.default: T = default
        self.takes = takes
        self.template = template
        self.choices = choices
        self.fallback = fallback
        self._known: list[T] = []  # its value, once that has been read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = PREFIX + name.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        known = self._known  # which another thread may have forgotten a moment later
        if not known:
            default = getattr(settings, self.fallback) if self.fallback else self.default
            value: T = getattr(settings, self.name, default)
            if problem := self.problem_with(value):
                raise ImproperlyConfigured(problem)
            self._known = known = [value]
        return known[0]

    def forget(self) -> None:
        """Read it again when it is used next."""
        self._known = []

    def problem_with(self, value: object) -> str | None:
        """Say what is wrong with ``value`` for this setting; None if nothing is."""
        if self._accepts(value):
            return None
        return f"{self.name} takes {self.takes}, not {type(value).__name__}."

    def _accepts(self, value: object) -> bool:
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
            return isinstance(value, str) and self._formats(value)
        numbers = (int, float) if isinstance(self.default, float) else int
        return (
            isinstance(value, numbers)
            and not isinstance(value, bool)
            and (0 < value < float("inf") or value == self.default)
        )

    def _formats(self, value: str) -> bool:
        if not self.template:
            return True
        try:
            parsed = list(Formatter().parse(value))
        except ValueError:
            return False
        names = {name for _, name, _, _ in parsed if name is not None}
        # Without its placeholder a template would send every channel to one place.
        return bool(names) and names <= self.template


class Conf:
    """The settings by name, in lower case and without their prefix."""

    redis_name = Setting("default", "the alias of a django-redis cache (str)")
    task_wait_timeout_key_template = Setting(
        "django-simpletask2:task-wait-timeout:{channel}",
        "a str with {channel}",
        template=_CHANNEL,
    )
    do_task_timeout_key_template = Setting(
        "django-simpletask2:do-task-timeout:{channel}",
        "a str with {channel}",
        template=_CHANNEL,
    )
    queue_template = Setting("simpletask2.{channel}", "a str with {channel}", template=_CHANNEL)
    publish_to = Setting(
        "celery", '"celery", "redis" or "both"', choices=("celery", "redis", "both")
    )
    shortcuts = Setting(True, "True or False")
    publish_timeout = Setting(1.2, "a number of seconds above 0")
    legacy_channels = Setting[tuple[str, ...]]((), "a list of channels (str)")
    channel_name_template = Setting(
        "django-simpletask2:channels:{channel}", "a str with {channel}", template=_CHANNEL
    )
    channel_flags_template = Setting(
        "django-simpletask2:channel-flags:{channel}",
        "a str with {channel}",
        template=_CHANNEL,
    )
    proxy_timeout = Setting(30.0, "a number of seconds above 0")
    proxy_max_size = Setting(10 * 1024 * 1024, "a number of bytes above 0 (int)")
    proxy_allowed_schemes = Setting[tuple[str, ...]](
        (), 'a list of "http" and "https"', choices=("http", "https")
    )
    proxy_allowed_hosts = Setting[tuple[str, ...]]((), "a list of hosts (str)")
    proxy_refuse_private = Setting(False, "True or False")
    do_auto_reset = Setting(True, "True or False")
    auto_reset_interval = Setting(60.0, "a number of seconds above 0")
    heartbeat = Setting(0.0, "a number of seconds, 0 for none")
    enforce_timeout = Setting(False, "True or False")
    max_lost_runs = Setting(5, "a number above 0 (int)")
    aclkey = Setting("", "a str", fallback="SECRET_KEY")
    task_pull_timeout = Setting(5, "a number of seconds above 0 (int)")

    # Settings of the original that this way of driving rows has no use for.
    # A project may keep them; their types are checked.
    channel_name_strip_regex = Setting(
        "^django-simpletask2:channels:(?P<channel>.*)$", "a regular expression (str)"
    )
    task_lock_name_template = Setting(
        "django-simpletask2:locks:{app_label}.{model_name}:{task_id}",
        "a str with {app_label}, {model_name} and {task_id}",
        template=frozenset({"app_label", "model_name", "task_id"}),
    )


conf = Conf()


def all_settings() -> list[Setting[Any]]:
    """Return every setting, in the order of the class above."""
    return [item for item in vars(Conf).values() if isinstance(item, Setting)]


def _forget(**_: Any) -> None:
    for setting in all_settings():
        setting.forget()


setting_changed.connect(_forget)
