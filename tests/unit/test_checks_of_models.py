"""What ``manage.py check`` says of each model of tests/support/checked, and of no other."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.fixtures import environ

#: {model: [(number of the check, what its message says), …]}; all others are sound.
EXPECTED = {
    "StepAboveFinal": [("W010", "step3 never runs: StepAboveFinal has final_step = 2.")],
    "StepWithoutFinal": [("W010", "do_task_main_step2 never runs")],
    "StepZero": [("W010", "do_task_main_step0 never runs")],
    "StepMisspelt": [("W010", "do_task_main_step_1 never runs")],
    "TimeoutText": [("E008", "do_task_timeout has to be a number of seconds above 0, not '300'")],
    "TimeoutDelta": [("E008", "task_wait_timeout has to be a number of seconds above 0, not a ti")],
    "TimeoutZero": [("E008", "above 0, not 0.")],
    "TimeoutNegative": [("E008", "above 0, not -1.")],
    "TimeoutNan": [("E008", "above 0, not nan.")],
    "TimeoutTrue": [("E008", "above 0, not True.")],
    "TimeoutProperty": [("E008", "above 0, not a property.")],
    "TimeoutField": [("E008", "above 0, not a DeferredAttribute.")],
    "TimeoutRaising": [("E008", "above 0, not None.")],
    "QueueNumber": [("E017", "has to be the name of a queue (str) or None, not 7.")],
    "QueueTrue": [("E017", "or None, not True.")],
    "QueueList": [("E017", "or None, not a list.")],
    "KeepText": [("E013", "has to be a number of seconds, 0 or more, or None, not '30d'.")],
    "KeepDelta": [("E013", "or None, not a timedelta.")],
    "KeepNegative": [("E013", "or None, not -1.")],
    "KeepNan": [("E013", "or None, not nan.")],
    "KeepForever": [("E013", "or None, not inf.")],
    "KeepTrue": [("E013", "or None, not True.")],
    "KeepField": [("E013", "or None, not a DeferredAttribute.")],
    "FinalStepFar": [("E001", f"no method do_task_main_step{step}.") for step in range(2, 101)],
    "FinalStepText": [("E008", "final_step has to be a whole number of steps, 1 or more, not '1'")],
    "FinalStepZero": [("E008", "1 or more, not 0.")],
    "FinalStepFloat": [("E008", "1 or more, not 1.0.")],
    "ChannelMisspelt": [("E009", "has channel_field = 'knid', which is no field")],
    "ChannelFieldItself": [("E009", "has channel_field = a DeferredAttribute, which is no field")],
    "ChannelMethod": [("E009", "'kind'")],
    "ChannelMany": [("E009", "'kinds'")],
    "HandlerAlone": [("E010", "do_task_main cannot be called as do_task_main(payload)")],
    "HandlerOfTwo": [("E010", "HandlerOfTwo.do_task_main ")],
    "HandlerByKeyword": [("E010", "HandlerByKeyword.do_task_main ")],
    "HandlerStatic": [("E010", "HandlerStatic.do_task_main ")],
    "HandlerInTransaction": [("E010", "HandlerInTransaction.do_task_main ")],
    "HandlerOfStep2": [("E010", "HandlerOfStep2.do_task_main_step2 ")],
    "StatusText": [("E011", "as in SimpleTask: IntegerField, default READY, DOING or DONE.")],
    "StatusOfItsOwn": [("E011", "StatusOfItsOwn.status ")],
    "StatusProperty": [("E011", "StatusProperty.status ")],
    "StatusOfMixin": [("E011", "StatusOfMixin.status ")],
    "SuccessNotNull": [("E011", "success has to be as in SimpleTask: BooleanField, NULL allowed.")],
    "StartTimeDay": [("E011", "as in SimpleTask: DateTimeField, NULL allowed.")],
    "DoneText": [("E011", "DoneText.DONE has to be as in SimpleTask: 30.")],
    "FieldStart": [("W011", "FieldStart.start hides SimpleTask.start.")],
    "FieldPublish": [("W011", "FieldPublish.publish hides SimpleTask.publish.")],
    "FieldReset": [("W011", "FieldReset.done hides"), ("W011", "FieldReset.reset hides")],
    "PublishOfMixin": [("W011", "PublishOfMixin.publish, from Publishing, hides")],
    "PublishSaves": [("W011", "PublishSaves.publish hides")],
    "StartOfMixin": [("W011", "StartOfMixin.start hides")],
    "StartOfParent": [("W011", "StartOfParent.start, from Place, hides")],
    "PrivateName": [("W011", "PrivateName._change hides")],
    "StatusChoices": [("W011", "StatusChoices.STATUS hides")],
    "SaveField": [("W011", "SaveField.save hides")],
    "RetryForText": [("E014", "autoretry_for has to be an exception class, or a tuple or list of")],
    "RetryForInstance": [("E014", "of them, not a tuple.")],
    "RetryNotForText": [("E014", "dont_autoretry_for has to be an exception class")],
    "RetriesText": [("E014", "has to be a whole number, 0 or more, or None for no end, not '3'.")],
    "RetriesTrue": [("E014", "no end, not True.")],
    "RetriesNegative": [("E014", "no end, not -1.")],
    "RetriesHalf": [("E014", "no end, not 1.5.")],
    "DelayDelta": [("E014", "has to be a number of seconds, 0 or more, not a timedelta.")],
    "DelayNegative": [("E014", "0 or more, not -1.")],
    "DelayNone": [("E014", "0 or more, not None.")],
    "BackoffZero": [("E014", "has to be True, False or a number of seconds above 0, not 0.")],
    "BackoffText": [("E014", "above 0, not '2'.")],
    "BackoffMaxEndless": [("E014", "retry_backoff_max has to be a number of seconds, 0 or more")],
    "JitterOne": [("E014", "retry_jitter has to be True or False, not 1.")],
    "ResumeText": [("E014", "resume has to be True or False, not 'yes'.")],
    "ResumeMethod": [("E014", "resume has to be True or False, not a function.")],
    "AtomicOne": [("E014", "atomic_steps has to be True or False, not 1.")],
    "OptionsOfSimple": [("W016", "has autoretry_for, max_retries, resume, which nobody reads")],
    "AtomicAsync": [("W017", "AtomicAsync.do_task_main_step2 is async, and AtomicAsync has")],
    "ResumedUpload": [("W018", "ResumedUpload.do_task_main_step1 asks for a request with files")],
    "StateOfParent": [("E016", "in the table of PlainParent, and their attempts and errors")],
}


@pytest.fixture(scope="module")
def found():
    command = [sys.executable, "-m", "tests.support.checked"]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", EXPECTED)
def test_what_is_wrong_with_a_model_is_named(found, model):
    problems = found[model]
    assert [(id.removeprefix("simpletask2_celery."), hint != "") for id, _, hint in problems] == [
        (number, True) for number, _ in EXPECTED[model]
    ]
    for (_, message, _), (_, words) in zip(problems, EXPECTED[model], strict=True):
        assert words in message


def test_nothing_else_is_reported(found):
    """Sound models, abstract and swapped ones, proxies, children of others, several databases."""
    assert set(found) == {*EXPECTED}
