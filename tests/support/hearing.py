"""What the signals tell, and receivers that last as long as a test."""

import pytest
from django.db import connections

from simpletask2_celery import signals

SIGNALS = {
    name: getattr(signals, name)
    for name in (
        "task_published",
        "task_started",
        "step_finished",
        "task_finished",
        "task_reset",
    )
}
ABOUT = {"signal", "sender", "task_info", "pk", "using", "channel", "label"}
ARGUMENTS = {
    "task_published": ABOUT,
    "task_started": ABOUT | {"row"},
    "step_finished": ABOUT
    | {"row", "step", "seconds", "request_seconds", "request_error"}
    | {"success", "error"},
    "task_finished": ABOUT | {"row", "success", "error", "seconds"},
    "task_reset": ABOUT | {"row", "reason"},
}


class Heard(list):
    """What the signals have told: (name of the signal, arguments)."""

    def __init__(self):
        self.receivers = {}
        for name in SIGNALS:
            self.listen(name)

    def listen(self, name):
        def hear(**kwargs):
            assert set(kwargs) == ARGUMENTS[name]
            assert not connections[kwargs["using"]].in_atomic_block
            self.append((name, kwargs))

        self.receivers[name] = hear
        SIGNALS[name].connect(hear)

    def stop(self):
        for name, receiver in self.receivers.items():
            SIGNALS[name].disconnect(receiver)

    def names(self):
        return [name for name, _ in self]

    def of(self, name):
        return [kwargs for one, kwargs in self if one == name]

    def take(self):
        names = self.names()
        self.clear()
        return names


@pytest.fixture
def heard():
    heard = Heard()
    yield heard
    heard.stop()


@pytest.fixture
def connect():
    """Connect receivers for as long as a test lasts."""
    connected = []

    def connect(signal, receiver, **options):
        signal.connect(receiver, **options)
        connected.append((signal, receiver, options.get("sender")))

    yield connect
    for signal, receiver, sender in connected:
        assert signal.disconnect(receiver, sender=sender)
