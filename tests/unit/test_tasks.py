"""The two Celery tasks, and beat's entry for one of them."""

from celery import current_app

from simpletask2_celery.publishing import messages
from simpletask2_celery.running import only_json


def test_both_tasks_have_the_strategy():
    for name in (messages.DO_TASK, "simpletask2_celery.do_auto_reset"):
        assert current_app.tasks[name].Strategy == only_json.NAME


def test_beat_has_the_entry():
    current_app.finalize()  # as beat does
    entry = current_app.conf.beat_schedule["simpletask2-auto-reset"]
    assert entry["task"] == "simpletask2_celery.do_auto_reset"
    assert entry["schedule"] == 1.0
    assert entry["options"]["expires"] < 1.0


def test_no_result_of_either_task_is_stored():
    for name in (messages.DO_TASK, "simpletask2_celery.do_auto_reset"):
        assert current_app.tasks[name].ignore_result is True
