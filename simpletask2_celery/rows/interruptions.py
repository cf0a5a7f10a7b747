"""What ends a run from outside; whatever else is raised ends a handler, and its row."""

import signal

from billiard.common import terminate_handler_fired
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate


class Interruption(BaseException):
    """Ends a run from outside, and leaves its row as it is."""


def is_interruption(error: BaseException) -> bool:
    """Tell whether an error ends this process, or this greenlet, on purpose.

    The signals by which Celery and billiard end a worker or a child of its pool, and
    Ctrl-C outside of a worker. ``sys.exit()`` of a handler ends no more than its run.
    """
    if isinstance(error, (Interruption, WorkerShutdown, WorkerTerminate)):
        return True
    if isinstance(error, SystemExit):
        return bool(terminate_handler_fired())
    if isinstance(error, KeyboardInterrupt):  # a worker has a handler of its own
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return type(error).__name__ == "GreenletExit"  # of gevent and eventlet


def is_about_the_run(error: BaseException) -> bool:
    """Tell whether an error is an interruption, or a time limit of Celery."""
    return isinstance(error, SoftTimeLimitExceeded) or is_interruption(error)
