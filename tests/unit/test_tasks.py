"""The Celery tasks, and beat's entries for two of them."""

from celery import Celery, current_app

from simpletask2_celery.publishing import messages
from simpletask2_celery.recovery import schedule
from simpletask2_celery.running import only_json
from tests.support.project.jobs.models import DayJob

BEATS = ["simpletask2_celery.do_auto_reset", "simpletask2_celery.do_prune"]


def test_all_tasks_have_the_strategy():
    for name in (messages.DO_TASK, *BEATS, "simpletask2_celery.create"):
        assert current_app.tasks[name].Strategy == only_json.NAME


def test_beat_has_the_entry():
    current_app.finalize()  # as beat does
    entry = current_app.conf.beat_schedule["simpletask2-auto-reset"]
    assert entry["task"] == "simpletask2_celery.do_auto_reset"
    assert entry["schedule"] == 1.0
    assert entry["options"]["expires"] < 1.0


def entries(**settings):
    """Return beat's schedule of an app with these settings, when it is finalized."""
    first = current_app._get_current_object()
    app = Celery("other", set_as_current=False)
    app.conf.update(settings)
    try:
        app.finalize()
        return app.conf.beat_schedule
    finally:
        app.close()
        first.set_current()


def test_prunes_have_an_entry_where_a_model_says_how_long_it_keeps_rows(monkeypatch):
    assert set(entries()) == {"simpletask2-auto-reset"}
    monkeypatch.setattr(DayJob, "keep_done", 0)
    assert entries()["simpletask2-prune"] == {
        "task": "simpletask2_celery.do_prune",
        "schedule": 3600.0,
        "options": {"expires": 3240.0},
    }
    monkeypatch.setattr(DayJob, "keep_done", True)  # which a check names
    assert "simpletask2-prune" not in entries()


def test_the_entry_of_prunes_is_wanted_where_that_of_resets_is(monkeypatch):
    monkeypatch.setattr(DayJob, "keep_done", 60.0)
    assert entries(**{schedule.WANTED: False}) == {}
    mine = {"simpletask2-prune": {"task": "mine", "schedule": 7}}
    assert entries(beat_schedule=mine)["simpletask2-prune"]["task"] == "mine"
    # As a configuration file has it, whose workers serve no other queue.
    resets = {"simpletask2-auto-reset": schedule.entry(60, "queue")}
    assert entries(beat_schedule=resets)["simpletask2-prune"]["options"]["queue"] == "queue"


def test_no_result_of_what_beat_sends_and_of_rows_is_stored():
    for name in (messages.DO_TASK, *BEATS):
        assert current_app.tasks[name].ignore_result is True


def test_a_project_says_whether_the_results_of_creates_are_stored():
    task = current_app.tasks["simpletask2_celery.create"]
    assert task.ignore_result is current_app.conf.task_ignore_result is False


def test_a_tick_survives_its_worker_and_a_prune_expires_before_the_next():
    assert current_app.tasks["simpletask2_celery.create"].acks_late is True
    assert current_app.tasks["simpletask2_celery.do_prune"].expires == 3240.0
