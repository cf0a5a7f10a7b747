"""The envelope that every answer comes in (section 8 of the compatibility page)."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from ..exceptions import DjangoSimpleTask2Error


def success(result: object) -> dict[str, Any]:
    """Wrap what a run returned."""
    return {"success": True, "result": result, "error": {"code": 0, "message": "OK"}}


def failure(error: DjangoSimpleTask2Error) -> dict[str, Any]:
    """Wrap an error."""
    words = {"code": error.code, "message": error.message}
    return {"success": False, "result": None, "error": words}


def in_words(answer: dict[str, Any]) -> str:
    """Return the line that Celery logs, and sends as an event, for an answer nobody stores."""
    # What a handler returned stays out: it may be secret, it may be long, and to shorten it
    # costs Celery more than it costs to claim the row.
    if answer["success"]:
        return f"{answer['result']['task_info']}: OK"
    return "{code}: {message}".format(**answer["error"])


def storable(result: dict[str, Any]) -> dict[str, Any]:
    """Put what a handler returned into JSON's types; odd things become their repr()."""
    data = result["data"]
    try:
        data = json.loads(json.dumps(data, cls=DjangoJSONEncoder, allow_nan=False))
    except (TypeError, ValueError, RecursionError):  # a finished row must not fail for them
        try:
            data = repr(data)
        except Exception:  # of the handler's own class, or an int of 5,000 digits
            data = object.__repr__(data)
    return {**result, "data": data}
