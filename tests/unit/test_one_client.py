"""The step that keeps one client, on a channel that has none."""

from types import SimpleNamespace

from simpletask2_celery.fast import clients


def test_a_channel_without_such_clients_is_left_as_it_is():
    channel = SimpleNamespace()
    parent = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel))
    clients.OneClient(parent).start(parent)
    assert vars(channel) == {}
