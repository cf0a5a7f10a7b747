"""Django signals: what happens to rows, sent in the process where it happens.

A signal is sent once its fact is true in the database: at once, or after the commit where a
transaction is open. A receiver that fails is logged, and changes nothing about the run, the
save or the reset. Without receivers a row costs a look at an empty list.

Each signal is also a line of the log at DEBUG. The record has ``task_info``, and where they
are known ``step``, ``code`` and ``duration`` (seconds).
"""

from typing import Any

from django.dispatch import Signal

#: Why a row was reset.
LEASE_OVER = "lease_over"  #: its run did not come to an end in time
MESSAGE_LOST = "message_lost"  #: it was READY for too long: published again
RUN_LOST = "run_lost"  #: the process that ran it has died
OPERATOR = "operator"  #: somebody asked for it


class TaskSignal(Signal):
    """A signal about a row. Its sender is the row's model, a class."""

    def _log_robust_failure(self, receiver: Any, err: Exception) -> None:
        """Log nothing here: ``rows.announcing`` logs it with the row's name."""


#: A row's message was handed to the broker, or to the Redis list of its channel.
#: ``pk``, ``using`` (alias of its database), ``channel``, ``task_info`` ("app.model:pk"), ``label``
#: (what Celery's log calls it: "app.model", or the path of a function task).
task_published = TaskSignal(use_caching=True)

#: A run has claimed its row. As above, and ``row``.
task_started = TaskSignal(use_caching=True)

#: A step has ended, and what its handler changed is saved. As above, and ``step`` (int),
#: ``seconds`` (float, of the handler), ``request_seconds`` (float, of the proxy request
#: after it, or None), ``request_error`` (str, why that request has no answer, or None),
#: ``success`` (bool), ``error`` (what the handler raised, or None).
step_finished = TaskSignal(use_caching=True)

#: A row is DONE. As for task_started, and ``success`` (True, False, or None where
#: nobody had set it before ``done()``), ``error`` (why it failed, an exception or None),
#: ``seconds`` (float, since its claim; None for a row that nobody had claimed).
task_finished = TaskSignal(use_caching=True)

#: A durable row's attempt has failed, and it is READY for another one. As for task_started, and
#: ``error`` (what the handler raised), ``attempt`` (int, the one that failed), ``run_after``
#: (datetime of the next one).
task_retried = TaskSignal(use_caching=True)

#: ``cancel()`` has made a durable row DONE; task_finished is sent, too. As for task_started.
task_cancelled = TaskSignal(use_caching=True)

#: A row is READY again. As for task_started, and ``reason``, one of the four above. ``row``
#: is as it was before the reset, unless its own ``reset()`` was called.
task_reset = TaskSignal(use_caching=True)
