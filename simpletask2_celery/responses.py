"""The envelope that every answer comes in (compatibility facts, section 8)."""

from typing import Any

from .exceptions import DjangoSimpleTask2Error


def success(result: object) -> dict[str, Any]:
    """Wrap what a run returned."""
    return {"success": True, "result": result, "error": {"code": 0, "message": "OK"}}


def failure(error: DjangoSimpleTask2Error) -> dict[str, Any]:
    """Wrap an error."""
    return {
        "success": False,
        "result": None,
        "error": {"code": error.code, "message": error.message},
    }
