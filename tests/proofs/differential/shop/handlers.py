"""What the handlers do. Each notes its step in the row, so that a run is seen there."""

import base64
import datetime
import json

from django.utils import timezone

DONE, DOING, READY = 30, 20, 10


def run(row, payload):
    """Do what ``row.what`` says: "name" in each step, "2:name" in step 2 alone."""
    row.note += str(row.current_step)
    step, _, name = row.what.rpartition(":")
    if step and int(step) != row.current_step:
        return work(row, payload)
    return globals()[name](row, payload)


def work(row, payload):
    return {"noted": row.note}


def fail(row, payload):
    raise ValueError("as told")


def keep_payload(row, payload):
    row.note = json.dumps(payload, sort_keys=True)
    return {"step": row.current_step}


def answer_nothing(row, payload):
    return None


def answer_time(row, payload):
    return datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)


def answer_set(row, payload):
    return {1}


def tell_status(row, payload):
    stored = type(row).objects.get(pk=row.pk)
    return {"status": stored.status, "step": stored.current_step}


def tell_lease(row, payload):
    lease = type(row).objects.get(pk=row.pk).auto_reset_time - timezone.now()
    return {"lease": round(lease.total_seconds(), -2)}


# -- what a handler does to its own row -----------------------------------------


def save(row, payload):
    row.save()
    return tell_status(row, payload)


def reset(row, payload):
    row.reset()
    return tell_status(row, payload)


def done(row, payload):
    return {"done": row.done(), **tell_status(row, payload)}


def delete(row, payload):
    row.delete()
    return {}


def no_note(row, payload):
    row.note = None  # which the column does not take
    return {}


# -- what others do while it runs -----------------------------------------------


def others(row, **values):
    type(row).objects.filter(pk=row.pk).update(**values)


def others_reset(row, payload):
    others(row, status=READY, start_time=None, current_step=None, step1_time=None)
    return {}


def others_reset_and_i_save(row, payload):
    others_reset(row, payload)
    row.save()
    return tell_status(row, payload)


def others_reset_and_i_fail(row, payload):
    others_reset(row, payload)
    raise ValueError("as told")


def others_claim(row, payload):
    others(row, start_time=timezone.now())
    return {}


def others_finish(row, payload):
    others(row, status=DONE, success=False, auto_reset_time=None)
    return {}


def others_delete(row, payload):
    type(row).objects.filter(pk=row.pk).delete()
    return {}


def others_delete_and_i_fail(row, payload):
    others_delete(row, payload)
    raise ValueError("as told")


def others_change(row, payload):
    others(row, other=5)
    return {}


def others_post(row, payload):
    from tests.proofs.differential.observer import post

    return {"meanwhile": post("do_task", task_info=row.get_task_info())}


# -- proxy steps ----------------------------------------------------------------


def proxy(row, payload):
    """Ask for a request in each step but the last, and note what came of it."""
    if row.current_step > 1:
        row.note += f" {_proxied(payload)} "
    if row.current_step == row.final_step:
        return {}
    from tests.proofs.differential.observer import site

    return {"proxy": {"method": "GET", "url": f"{site()}/{row.other}"}}


def _proxied(payload):
    content = payload.get("proxied_content")
    if content is None:
        return payload.get("proxied_error")
    return base64.decodebytes(content.encode()).decode()
