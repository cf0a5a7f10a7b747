"""Calls of the HTTP API, whose answers always have the same form."""

from django.test import Client
from django.urls import reverse

KEY = "the key of the tests"
NAMES = ("do_task", "get_a_task", "do_auto_reset")


def url(name):
    return reverse(f"django_simpletask2.{name}")


def send(name, body, client=None):
    """Post a body as it is; return the envelope, whose form always holds."""
    client = client or Client(enforce_csrf_checks=True, raise_request_exception=False)
    answer = client.post(url(name), body, content_type="application/json")
    assert answer.status_code == 200
    envelope = answer.json()
    assert set(envelope) == {"success", "result", "error"}
    assert set(envelope["error"]) == {"code", "message"}
    assert envelope["success"] is (envelope["error"]["code"] == 0)
    assert KEY not in answer.text and "Traceback" not in answer.text
    return envelope
