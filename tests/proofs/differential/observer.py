"""What a scenario sees, in plain values that both sides' runs can be compared by."""

import base64
import functools
import json
import socket
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_redis import get_redis_connection

PREFIX = "/django-simpletask2/"
STATUS = {"READY": 10, "DOING": 20, "DONE": 30}
TIMES = ["start", "step1", "step2", "step3", "done", "auto_reset"]


class Observer(dict):
    """The observations of a scenario: "row 1", "envelope 1", "row 2", … in order."""

    def note(self, kind, value):
        number = sum(label.startswith(f"{kind} ") for label in self)
        self[f"{kind} {number + 1}"] = value

    def row(self, row):
        """See the row as the database has it; None where it is gone."""
        self.note("row", _stored(type(row), row.pk))

    def rows(self, model):
        """See all rows of a model by primary key."""
        keys = model.objects.order_by("pk").values_list("pk", flat=True)
        self.note("rows", {str(pk): _stored(model, pk) for pk in keys})

    def held(self, row):
        """See the row as the object has it."""
        values = {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields}
        self.note("held", _plain_fields(values))

    def due(self, row):
        """See in how many hundreds of seconds the row is reset."""
        row = type(row).objects.get(pk=row.pk)
        rest = row.auto_reset_time and row.auto_reset_time - timezone.now()
        self.note("due", rest and round(rest.total_seconds(), -2))

    def post(self, name, **payload):
        """See the envelope of a call of the HTTP API, and return it."""
        return self.send(name, json.dumps({"aclkey": "key", **payload}))

    def send(self, name, body, method="POST"):
        """See the envelope that any body gets."""
        answer = _send(name, body, method)
        assert answer["success"] is (answer["error"]["code"] == 0)
        self.note("envelope", {**answer["error"], "result": answer["result"]})
        return answer

    def call(self, function, *args, **kwargs):
        """See what a method returns, or the code or class of what it raises."""
        try:
            returned = function(*args, **kwargs)
        except Exception as error:
            self.note("raised", _error(error))
            return None
        shown = returned.get_task_info() if isinstance(returned, Model) else returned
        self.note("returned", shown)
        return returned

    def lists(self):
        """See all that is in Redis, but for the time of ours's last reset."""
        hints = (":last-reset", ":lost-runs:")  # of ours, in the cache
        keys = sorted(k for k in redis().keys() if not any(h in k for h in hints))
        self.note("lists", {key: _redis_value(key) for key in keys})

    def drive(self, row):
        """Do all steps as the original's server does (compatibility facts, section 9)."""
        answer = self.post("do_task", task_info=row.get_task_info(), step=1)
        while (result := answer["result"]) and result["continue_flag"]:
            more = _proxied(result["task_info"], result["data"].get("proxy"))
            step = {"task_info": result["task_info"], "step": result["next_step"]}
            answer = self.post("do_task", **step, **more)


def post(name, **payload):
    """Call the HTTP API unseen."""
    return _send(name, json.dumps({"aclkey": "key", **payload}), "POST")


def redis():
    return get_redis_connection("default")


@functools.cache
def site():
    """Return the address of an HTTP server: "/<status>" answers with that status.

    "/1" is no status: there the connection breaks.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class _Site(BaseHTTPRequestHandler):
    def do_GET(self):
        status = int(self.path.strip("/"))
        if status < 200:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"the body of a {status} – ü".encode())

    def log_message(self, *args):
        pass


def _proxied(name, proxy):
    if proxy is None:
        return {"proxied_content": None}
    try:
        body = requests.request(timeout=10, **proxy).content
    except requests.RequestException:
        return {"proxied_content": None, "proxied_error": f"{name} failed"}
    content = base64.encodebytes(body).decode()
    return {"proxied_content": content, "proxied_error": None}


def _send(name, body, method):
    client = Client()
    data = body if isinstance(body, bytes) else body.encode()
    response = client.generic(method, PREFIX + name, data, "application/json")
    assert response.status_code == 200, response
    return json.loads(response.content)


def _stored(model, pk):
    values = model.objects.filter(pk=pk).values().first()
    return values and _plain_fields(values)


def _plain_fields(values):
    """Put a row's fields into JSON's types, and of times only which are set."""
    times = [name for name in TIMES if values.pop(f"{name}_time") is not None]
    words = {number: word for word, number in STATUS.items()}
    return {
        "times": " ".join(times),
        "status": words[values.pop("status")],
        **{name: _plain(v) for name, v in values.items() if not isinstance(v, datetime)},
    }


def _plain(value):
    return value if isinstance(value, (int, str, type(None))) else str(value)


def _error(error):
    if hasattr(error, "code") and hasattr(error, "message"):
        return {"code": error.code, "message": error.message}
    return type(error).__name__


def _redis_value(key):
    read = {
        "list": lambda: redis().lrange(key, 0, -1),
        "set": lambda: sorted(redis().smembers(key)),
        "string": lambda: redis().get(key),
    }
    return read[redis().type(key)]()
