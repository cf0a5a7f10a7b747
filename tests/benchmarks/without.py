"""Ours without some of its shortcuts: BENCH_WITHOUT names them, "all" is the setting."""

import os

NAMES = ["all", "claim", "update", "copies", "pushes", "clients", "keys"]


def environ(*names):
    return {"BENCH_WITHOUT": " ".join(names)}


def leave_out():
    """Take the shortcuts that are named out of this process, and out of its children."""
    for name in os.environ.get("BENCH_WITHOUT", "").split():
        LEAVE_OUT[name]()


def _all():
    from django.conf import settings

    settings.DJANGO_SIMPLETASK2_SHORTCUTS = False


def _declining(name):
    def leave():
        from simpletask2_celery import fast

        setattr(fast, name, lambda *arguments, **more: None)

    return leave


def _pushes():
    from simpletask2_celery.fast import templates

    templates._is_list = lambda channel: False


def _clients():
    from simpletask2_celery import fast
    from simpletask2_celery.fast import clients

    clients.keep_one = fast.keep_one_client = lambda *arguments, **more: None


LEAVE_OUT = {
    "all": _all,
    "claim": _declining("claim_of"),
    "update": _declining("update_of"),
    "copies": _declining("copier"),
    "pushes": _pushes,
    "clients": _clients,
    "keys": _declining("keys_of"),
}
