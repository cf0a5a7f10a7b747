"""The table of scenarios: what both sides are asked to do, in words both understand.

``python -m tests.proofs.differential.scenarios`` runs it on one side and prints what was
seen: {scenario: {observation: value}}.
"""

import datetime
import itertools
import json
import os
import sys
import uuid

import django
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from tests.proofs.differential.observer import STATUS, Observer, redis, site

SCENARIOS = {}


def scenario(function):
    """Put ``function(shop, see)`` into the table, under its own name in words."""
    SCENARIOS[function.__name__.replace("_", " ")] = function
    return function


def for_each(**values):
    """Put it into the table once for each combination of ``values``, its arguments."""

    def register(function):
        name = function.__name__.replace("_", " ")
        for chosen in itertools.product(*values.values()):
            given = dict(zip(values, chosen, strict=True))
            words = ", ".join(f"{key}={value}" for key, value in given.items())
            SCENARIOS[f"{name}: {words}"] = _with(function, given)
        return function

    return register


def _with(function, given):
    return lambda shop, see: function(shop, see, **given)


# -- creating and publishing: compatibility facts, sections 3, 6 and 7 ----------


@scenario
def created(shop, see):
    job = shop.Job.objects.create()
    see.row(job)
    see.due(job)
    see.lists()


@scenario
def created_in_a_channel(shop, see):
    for topic in ["mail", "mail", "a b:c", "", None]:
        shop.ChannelJob.objects.create(topic=topic)
    see.lists()


@scenario
def created_in_a_transaction(shop, see):
    with transaction.atomic():
        for _ in range(3):
            shop.Job.objects.create()
        see.lists()
    see.lists()


@scenario
def created_in_a_transaction_that_is_rolled_back(shop, see):
    with transaction.atomic():
        shop.Job.objects.create()
        transaction.set_rollback(True)
    see.lists()


@scenario
def created_with_a_chosen_key(shop, see):
    for job in [
        shop.Job.objects.create(pk=77),
        shop.CodeJob.objects.create(pk="code"),
        shop.UuidJob.objects.create(pk=uuid.UUID(int=1)),
    ]:
        see.row(job)
    see.lists()


@for_each(status=["DOING", "DONE"])
def created_as(shop, see, status):
    see.row(shop.Job.objects.create(status=STATUS[status]))
    see.lists()


@scenario
def created_in_bulk(shop, see):
    shop.Job.objects.bulk_create([shop.Job(), shop.Job()])
    see.rows(shop.Job)
    see.lists()


@scenario
def created_with_redis_down(shop, see):
    see.call(shop.OfflineJob().save)
    see.rows(shop.OfflineJob)


@scenario
def saved_again(shop, see):
    job = shop.Job.objects.create()
    job.note = "changed"
    job.save()
    job.other = 5
    job.save(update_fields=["other"])
    see.row(job)
    see.lists()


@for_each(status=STATUS)
def push_to_mq(shop, see, status):
    job = _in_status(shop.Job, status)
    redis().flushdb()
    see.call(job.push_to_mq)
    see.call(job.push_to_mq)
    see.row(job)
    see.lists()


# -- one step: sections 3 and 8 -------------------------------------------------


@scenario
def one_step(shop, see):
    job = shop.Job.objects.create(what="tell_status")
    see.post("do_task", task_info="shop.job:1", step=1)
    see.row(job)
    see.lists()


@scenario
def one_step_without_a_number(shop, see):
    job = shop.Job.objects.create()
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@scenario
def one_step_named_in_capitals(shop, see):
    shop.Job.objects.create()
    see.post("do_task", task_info="shop.Job:1")
    see.post("do_task", task_info="Shop.job:1")


@scenario
def one_step_with_a_chosen_key(shop, see):
    for job in [
        shop.Job.objects.create(pk=77),
        shop.CodeJob.objects.create(pk="code"),
        shop.UuidJob.objects.create(pk=uuid.UUID(int=1)),
    ]:
        see.post("do_task", task_info=job.get_task_info())
        see.row(job)


@scenario
def one_step_that_raises(shop, see):
    job = shop.Job.objects.create(what="fail")
    see.post("do_task", task_info="shop.job:1", step=1)
    see.row(job)


@for_each(what=["answer_nothing", "answer_time", "answer_set"])
def one_step_with_an_answer(shop, see, what):
    job = shop.Job.objects.create(what=what)
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@scenario
def one_step_of_a_row_that_waited_too_long(shop, see):
    job = shop.Job.objects.create()
    _wait_in_vain(job)
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@scenario
def the_payload_of_a_step(shop, see):
    job = shop.Two.objects.create(what="keep_payload")
    see.post("do_task", task_info="shop.two:1", more=[1])
    see.row(job)
    see.post("do_task", task_info="shop.two:1", step=2, proxied_content=None)
    see.row(job)


# -- more steps: section 3 ------------------------------------------------------


@for_each(model=["Two", "Three", "Four"])
def all_steps(shop, see, model):
    row = getattr(shop, model).objects.create()
    for step in range(1, row.final_step + 1):
        see.post("do_task", task_info=row.get_task_info(), step=step)
        see.row(row)
        see.due(row)


@for_each(step=[1, 2, 3])
def a_step_of_three_raises(shop, see, step):
    row = shop.Three.objects.create(what=f"{step}:fail")
    see.drive(row)
    see.row(row)


@scenario
def a_step_is_posted_twice(shop, see):
    row = shop.Three.objects.create()
    for step in [1, 1, 2, 2, 3, 3]:
        see.post("do_task", task_info="shop.three:1", step=step)
        see.row(row)


@for_each(step=[2, 3])
def a_step_of_a_row_that_is_ready(shop, see, step):
    row = shop.Three.objects.create()
    see.post("do_task", task_info="shop.three:1", step=step)
    see.row(row)


@scenario
def a_step_is_left_out(shop, see):
    row = shop.Three.objects.create()
    see.post("do_task", task_info="shop.three:1", step=1)
    see.post("do_task", task_info="shop.three:1", step=3)
    see.row(row)


@scenario
def a_step_of_a_row_that_is_done(shop, see):
    row = _in_status(shop.Three, "DONE")
    see.post("do_task", task_info="shop.three:1", step=2)
    see.row(row)


@scenario
def a_step_after_a_reset(shop, see):
    row = shop.Three.objects.create()
    see.post("do_task", task_info="shop.three:1", step=1)
    row.refresh_from_db()
    row.reset()
    see.post("do_task", task_info="shop.three:1", step=2)
    see.row(row)


@scenario
def a_step_after_the_lease_is_over(shop, see):
    row = shop.Three.objects.create()
    see.post("do_task", task_info="shop.three:1", step=1)
    _wait_in_vain(row)
    see.post("do_task", task_info="shop.three:1", step=2)
    see.row(row)


@scenario
def a_step_after_the_row_is_deleted(shop, see):
    row = shop.Three.objects.create()
    see.post("do_task", task_info="shop.three:1", step=1)
    shop.Three.objects.all().delete()
    see.post("do_task", task_info="shop.three:1", step=2)
    see.row(row)


# -- proxy steps: section 4 -----------------------------------------------------


@for_each(status=[200, 404, 500])
def a_proxy_step_that_is_answered(shop, see, status):
    row = shop.Two.objects.create(what="proxy", other=status)
    see.drive(row)
    see.row(row)


@scenario
def a_proxy_step_that_fails(shop, see):
    row = shop.Two.objects.create(what="proxy", other=1)
    see.drive(row)
    see.row(row)


@scenario
def a_step_without_a_proxy(shop, see):
    row = shop.Two.objects.create(what="2:proxy")
    see.drive(row)
    see.row(row)


@scenario
def three_proxy_steps(shop, see):
    row = shop.Four.objects.create(what="proxy", other=200)
    see.drive(row)
    see.row(row)


# -- the codes: section 5 -------------------------------------------------------


@for_each(body=["", "{", "[1, 2]", '"text"', "null", b'{"aclkey": "\xff"}'])
def code_2910001_no_json_object(shop, see, body):
    see.send("do_task", body)


@scenario
def code_2910001_in_the_other_calls(shop, see):
    see.send("get_a_task", "{")
    see.send("do_auto_reset", "{")


@scenario
def code_2910001_not_posted(shop, see):
    job = shop.Job.objects.create()
    see.send("do_task", '{"aclkey": "key", "task_info": "shop.job:1"}', "GET")
    see.row(job)


@for_each(body=["{}", '{"aclkey": ""}', '{"aclkey": null}'])
def code_2910002_no_aclkey(shop, see, body):
    for name in ["do_task", "get_a_task", "do_auto_reset"]:
        see.send(name, body)


@for_each(aclkey=["no", 5, ["key"]])
def code_2910003_a_wrong_aclkey(shop, see, aclkey):
    job = shop.Job.objects.create()
    see.post("do_task", task_info="shop.job:1", aclkey=aclkey)
    see.post("get_a_task", aclkey=aclkey)
    see.post("do_auto_reset", aclkey=aclkey)
    see.row(job)
    see.lists()


@for_each(task_info=["shop.job:1", "shop.codejob:code"])
def code_2910004_the_row_is_gone(shop, see, task_info):
    see.post("do_task", task_info=task_info)


@for_each(
    task_info=[
        "shop.job",
        "job:1",
        "shop.job:",
        "shop.job:one",
        "shop.job:1:2",
        "shop.job:1.5",
        f"shop.job:{10**30}",
        ":",
        5,
        ["shop.job:1"],
    ]
)
def code_2910005_a_bad_task_info(shop, see, task_info):
    see.post("do_task", task_info=task_info)


@for_each(task_info=["shop.nothing:1", "nothing.job:1"])
def code_2910006_no_such_model(shop, see, task_info):
    see.post("do_task", task_info=task_info)


@scenario
def code_2910006_a_model_that_is_no_task(shop, see):
    apps.get_model("auth.User").objects.create(username="somebody")
    see.post("do_task", task_info="auth.user:1")


@for_each(step=[0, -1, 3, 2.0, "1", "main", None, True, [1]])
def code_2910007_no_such_step(shop, see, step):
    row = shop.Two.objects.create()
    see.post("do_task", task_info="shop.two:1", step=step)
    see.row(row)


@scenario
def code_2910007_a_step_that_has_no_handler(shop, see):
    row = shop.Gap.objects.create()
    see.drive(row)
    see.row(row)


@scenario
def code_2910007_no_do_task_main(shop, see):
    row = shop.Unwritten.objects.create()
    see.post("do_task", task_info="shop.unwritten:1")
    see.row(row)


@scenario
def code_2910008_the_lease_is_over(shop, see):
    job = _in_status(shop.Job, "DOING")
    _wait_in_vain(job)
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@for_each(
    what=[
        "others_reset",
        "others_claim",
        "others_finish",
        "others_delete",
        "delete",
        "no_note",
    ]
)
def code_2910010_the_last_step_cannot_be_saved(shop, see, what):
    shop.Job.objects.create(what=what)
    see.post("do_task", task_info="shop.job:1")
    see.rows(shop.Job)
    see.lists()


@for_each(task_info=[None, "", 0])
def code_2910011_no_task_info(shop, see, task_info):
    see.post("do_task", task_info=task_info)


@scenario
def code_2910011_no_task_info_at_all(shop, see):
    see.post("do_task")


@for_each(status=["DOING", "DONE"])
def code_2910013_and_2910015_a_row_that_is(shop, see, status):
    job = _in_status(shop.Job, status)
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@scenario
def code_2910013_another_worker_has_it(shop, see):
    job = shop.Job.objects.create(what="others_post")
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@for_each(
    what=[
        "1:others_reset",
        "1:others_claim",
        "1:others_finish",
        "1:others_delete",
        "1:delete",
        "1:no_note",
        "1:others_reset_and_i_save",
    ]
)
def code_2910014_a_step_cannot_be_saved(shop, see, what):
    shop.Two.objects.create(what=what)
    see.post("do_task", task_info="shop.two:1")
    see.rows(shop.Two)


@scenario
def code_2910015_done_without_success(shop, see):
    job = shop.Job.objects.create(what="fail")
    see.drive(job)
    see.drive(job)
    see.row(job)


@scenario
def code_2910000_the_table_is_gone(shop, see):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_job RENAME TO shop_job_away")
        see.post("do_task", task_info="shop.job:1")
        cursor.execute("ALTER TABLE shop_job_away RENAME TO shop_job")


@scenario
def code_2910000_a_method_of_the_row_fails(shop, see):
    shop.LostJob.objects.bulk_create([shop.LostJob()])
    see.post("do_auto_reset")
    see.post("do_task", task_info="shop.lostjob:1")
    see.rows(shop.LostJob)


# -- what handlers and others do meanwhile --------------------------------------


@for_each(what=["save", "reset", "done", "others_change"])
def a_handler_that_does(shop, see, what):
    job = shop.Job.objects.create(what=what)
    see.post("do_task", task_info="shop.job:1")
    see.row(job)


@for_each(what=["others_reset_and_i_fail", "others_delete_and_i_fail"])
def a_handler_that_fails_after(shop, see, what):
    shop.Job.objects.create(what=what)
    see.post("do_task", task_info="shop.job:1")
    see.rows(shop.Job)


# -- the methods of a row: sections 2 and 3 -------------------------------------


@scenario
def names_and_numbers(shop, see):
    see.call(list, shop.Job.SIMPLE_TASK_FIELDS)
    see.call(shop.SimpleTask.get_redis_conn().ping)
    row = _in_status(shop.Three, "DOING")
    for name in [
        "get_task_info",
        "get_channel_name",
        "final_step_number",
        "current_step_display",
        "get_task_wait_timeout",
        "get_do_task_timeout",
        "get_status_display",
    ]:
        see.call(getattr(row, name))


@scenario
def do_task(shop, see):
    job = shop.Job.objects.create(what="keep_payload")
    see.call(job.do_task)
    see.held(job)
    see.row(job)


@scenario
def do_task_with_a_payload(shop, see):
    row = shop.Two.objects.create(what="keep_payload")
    see.call(row.do_task, {"task_info": "shop.two:1", "step": 1, "more": 1})
    see.held(row)
    see.row(row)
    see.call(row.do_task, {"task_info": "shop.two:1", "step": 2, "more": 2})
    see.held(row)
    see.row(row)


@scenario
def do_task_that_raises(shop, see):
    job = shop.Job.objects.create(what="fail")
    see.call(job.do_task)
    see.held(job)
    see.row(job)


@for_each(status=STATUS)
def do_task_with_force(shop, see, status):
    job = _in_status(shop.Job, status)
    see.call(job.do_task, force=True)
    see.row(job)


@for_each(status=STATUS)
def do_task_of_the_last_step_with_force(shop, see, status):
    row = _in_status(shop.Three, status)
    see.call(row.do_task, {"step": 3}, force=True)
    see.row(row)


@scenario
def do_task_with_force_after_a_failure(shop, see):
    job = shop.Job.objects.create(what="fail")
    see.call(job.do_task)
    see.call(job.do_task, force=True)
    see.row(job)


@for_each(status=["DOING", "DONE"])
def do_task_without_force(shop, see, status):
    job = _in_status(shop.Job, status)
    see.call(job.do_task)
    see.row(job)


@scenario
def do_task_of_a_row_that_is_gone(shop, see):
    job = shop.Job.objects.create()
    shop.Job.objects.all().delete()
    see.call(job.do_task)
    see.call(job.do_task, force=True)
    see.rows(shop.Job)


@scenario
def do_task_of_a_row_that_others_have_changed(shop, see):
    job = shop.Job.objects.create()
    shop.Job.objects.update(other=5)
    see.call(job.do_task)
    see.row(job)


@scenario
def do_task_of_a_row_that_others_have_started(shop, see):
    job = shop.Job.objects.create()
    shop.Job.objects.get().start()
    see.call(job.do_task)
    see.row(job)


@scenario
def do_task_of_an_object_with_changes(shop, see):
    job = shop.Job.objects.create()
    job.other = 5
    see.call(job.do_task)
    see.row(job)


@for_each(status=STATUS, force=[False, True])
def start(shop, see, status, force):
    job = _in_status(shop.Job, status)
    see.call(job.start, force=force)
    see.row(job)
    see.due(job)


@for_each(status=STATUS, force=[False, True])
def done(shop, see, status, force):
    job = _in_status(shop.Job, status)
    see.call(job.done, force=force)
    see.row(job)


@for_each(status=STATUS)
def reset(shop, see, status):
    job = _in_status(shop.Job, status)
    redis().flushdb()
    see.call(job.reset)
    see.row(job)
    see.due(job)
    see.lists()


@scenario
def reset_after_a_failure(shop, see):
    row = shop.Three.objects.create(what="3:fail")
    see.drive(row)
    row.refresh_from_db()
    see.call(row.reset)
    see.row(row)


@for_each(method=["start", "done", "reset"])
def without_saving(shop, see, method):
    job = _in_status(shop.Job, "DOING" if method == "done" else "READY")
    see.call(getattr(job, method), save=False)
    see.held(job)
    see.row(job)


@scenario
def start_of_a_row_that_others_have_started(shop, see):
    job = shop.Job.objects.create()
    shop.Job.objects.get().start()
    see.call(job.start)
    see.row(job)


@scenario
def start_and_done_say_how_it_ended(shop, see):
    job = shop.Job.objects.create()
    see.call(job.start)
    job.success = True
    see.call(job.done)
    see.row(job)


@scenario
def done_of_a_row_that_others_have_reset(shop, see):
    job = _in_status(shop.Job, "DOING")
    shop.Job.objects.get().reset()
    see.call(job.done)
    see.row(job)


# -- auto-reset: section 3 ------------------------------------------------------


@for_each(status=STATUS)
def auto_reset_of_a_row_whose_time_is_over(shop, see, status):
    job = _in_status(shop.Job, status)
    _wait_in_vain(job)
    redis().flushdb()
    see.call(shop.Job.do_auto_reset)
    see.row(job)
    see.due(job)
    see.lists()


@for_each(status=STATUS)
def auto_reset_of_a_row_whose_time_is_not_over(shop, see, status):
    job = _in_status(shop.Job, status)
    redis().flushdb()
    see.call(shop.Job.do_auto_reset)
    see.row(job)
    see.lists()


@for_each(status=STATUS)
def auto_reset_of_a_row_without_a_time(shop, see, status):
    job = _in_status(shop.Job, status)
    shop.Job.objects.update(auto_reset_time=None)
    redis().flushdb()
    see.call(shop.Job.do_auto_reset)
    see.row(job)
    see.lists()


@scenario
def auto_reset_of_a_row_that_still_waits_in_its_list(shop, see):
    job = shop.Job.objects.create()
    _wait_in_vain(job)
    see.call(shop.Job.do_auto_reset)
    see.lists()


@scenario
def auto_reset_of_channels(shop, see):
    for topic in ["mail", "sms"]:
        _wait_in_vain(shop.ChannelJob.objects.create(topic=topic))
    redis().flushdb()
    see.call(shop.ChannelJob.do_auto_reset)
    see.lists()


@scenario
def auto_reset_in_a_transaction(shop, see):
    shop.Job.objects.bulk_create([shop.Job(), shop.Job(), shop.Job()])
    with transaction.atomic():
        see.call(shop.Job.do_auto_reset)
    see.lists()


@scenario
def auto_reset_over_http(shop, see):
    _wait_in_vain(shop.Job.objects.create())
    shop.Two.objects.bulk_create([shop.Two(), shop.Two()])
    redis().flushdb()
    see.post("do_auto_reset")
    see.lists()


@scenario
def auto_reset_of_a_late_worker(shop, see):
    row = shop.Two.objects.create()
    see.post("do_task", task_info="shop.two:1", step=1)
    _wait_in_vain(row)
    see.call(shop.Two.do_auto_reset)
    see.post("do_task", task_info="shop.two:1", step=1)
    see.post("do_task", task_info="shop.two:1", step=2)
    see.row(row)


# -- handing rows out: section 8 ------------------------------------------------


@scenario
def get_a_task(shop, see):
    jobs = [shop.Job.objects.create() for _ in range(2)]
    for job in jobs:
        see.post("get_a_task")
        see.row(job)
        see.lists()


@scenario
def get_a_task_and_do_it(shop, see):
    job = shop.Job.objects.create()
    name = see.post("get_a_task", channels="default")["result"]
    see.post("do_task", task_info=name)
    see.row(job)


@scenario
def get_a_task_from_channels(shop, see):
    for topic in ["mail", "sms", "fax"]:
        shop.ChannelJob.objects.create(topic=topic)
    see.post("get_a_task", channels="none,sms,mail")
    see.post("get_a_task", channels="none,sms,mail")
    see.lists()


@scenario
def get_a_task_code_2910012_an_empty_list(shop, see):
    see.post("get_a_task")
    see.post("get_a_task", channels="a,b")


@scenario
def get_a_task_that_is_in_no_list(shop, see):
    shop.Job.objects.bulk_create([shop.Job()])
    see.post("get_a_task")


@for_each(status=["DOING", "DONE"])
def get_a_task_that_is(shop, see, status):
    _in_status(shop.Job, status)
    see.post("get_a_task")
    see.lists()


@scenario
def get_a_task_that_is_gone(shop, see):
    shop.Job.objects.create().delete()
    see.post("get_a_task")
    see.lists()


@scenario
def get_a_task_that_is_none(shop, see):
    redis().rpush("django-simpletask2:channels:default", "nonsense")
    see.post("get_a_task")
    see.lists()


@scenario
def get_a_task_with_channels_that_are_no_text(shop, see):
    see.post("get_a_task", channels=5)


# -- timeouts set at run time: section 6 ----------------------------------------


@scenario
def timeouts_at_run_time(shop, see):
    redis().set("django-simpletask2:task-wait-timeout:urgent", 1000)
    redis().set("django-simpletask2:do-task-timeout:urgent", 2000)
    job = shop.ChannelJob.objects.create(topic="urgent", what="tell_lease")
    see.due(job)
    see.call(job.get_task_wait_timeout)
    see.call(job.get_do_task_timeout)
    see.call(job.start)
    see.due(job)
    see.call(job.reset)
    see.due(job)
    see.post("do_task", task_info="shop.channeljob:1")
    shop.ChannelJob.objects.update(status=STATUS["READY"], auto_reset_time=None)
    see.call(shop.ChannelJob.do_auto_reset)
    see.due(job)
    see.lists()


@scenario
def a_timeout_at_run_time_that_is_no_number(shop, see):
    redis().set("django-simpletask2:task-wait-timeout:odd", "soon")
    see.call(shop.ChannelJob(topic="odd").save)
    see.rows(shop.ChannelJob)


# -- the hands of the scenarios -------------------------------------------------


def _in_status(model, status):
    """Return a row that has come to that status as rows do."""
    row = model.objects.create()
    if status != "READY":
        values = {"status": STATUS["DOING"], "current_step": 1}
        values |= dict.fromkeys(["start_time", "step1_time"], timezone.now())
        later = datetime.timedelta(seconds=row.do_task_timeout)
        values["auto_reset_time"] = timezone.now() + later
        if status == "DONE":
            values |= {"status": STATUS["DONE"], "success": True}
            values |= {"done_time": timezone.now(), "auto_reset_time": None}
            values["current_step"] = row.final_step
        model.objects.filter(pk=row.pk).update(**values)
    return model.objects.get(pk=row.pk)


def _wait_in_vain(row):
    """Let the time come after which the row is to be reset."""
    past = timezone.now() - datetime.timedelta(seconds=5)
    type(row).objects.filter(pk=row.pk).update(auto_reset_time=past)


# -- running them ---------------------------------------------------------------


def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.proofs.differential.settings"
    django.setup()
    from tests.proofs.differential.shop import models as shop

    call_command("migrate", run_syncdb=True, verbosity=0)
    seen = {}
    for name, act in SCENARIOS.items():
        _clear()
        seen[name] = Observer()
        act(shop, seen[name])
    _clear()
    sys.stdout.write(json.dumps(seen).replace(site(), "http://site"))


def _clear():
    """Make each scenario the first: no rows, no keys, nothing remembered."""
    call_command("flush", interactive=False, inhibit_post_migrate=True, verbosity=0)
    redis().flushdb()
    if apps.is_installed("simpletask2_celery"):
        from simpletask2_celery.rows import timeouts

        timeouts.forget()


if __name__ == "__main__":
    main()
