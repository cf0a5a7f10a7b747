"""The one exception of the package and its seventeen codes, in one place."""

from django.utils.translation import gettext_lazy as _

SYSTEM_ERROR = 2910000
BAD_PAYLOAD = 2910001
ACLKEY_MISSING = 2910002
ACLKEY_WRONG = 2910003
ROW_GONE = 2910004
BAD_TASK_INFO = 2910005
NO_SUCH_MODEL = 2910006
NO_HANDLER = 2910007
NOT_READY = 2910008
HANDLER_FAILED = 2910009
FINISH_NOT_SAVED = 2910010
TASK_INFO_MISSING = 2910011
NO_TASK = 2910012
CLAIMED = 2910013
STEP_NOT_SAVED = 2910014
ALREADY_DONE = 2910015
NOT_DUE = 2910016  # of durable rows; the original has no such code

#: Codes of a message that came late, twice or for nothing: no harm, nothing to do.
NOTHING_TO_DO = frozenset({ROW_GONE, NOT_READY, CLAIMED, ALREADY_DONE, NOT_DUE})

#: The sentence of each code (section 5 of the compatibility page).
MESSAGES = {
    SYSTEM_ERROR: _("system error."),
    BAD_PAYLOAD: _("please send request parameters in PAYLOAD format."),
    ACLKEY_MISSING: _("`aclkey` field is required."),
    ACLKEY_WRONG: _("aclkey is wrong and access denied."),
    ROW_GONE: _("got an already deleted task {task_info}, you may ignore this and continue."),
    BAD_TASK_INFO: _("bad formatted task_info: {task_info}."),
    NO_SUCH_MODEL: _("Simple task model {model} not exists."),
    NO_HANDLER: _("task handler is not implemented, task={model}, handler={handler}."),
    NOT_READY: _("task {task_info} status is not READY but {status}, you can not start it again."),
    HANDLER_FAILED: _("task {task_info} calling {handler} failed with error message: {error}."),
    FINISH_NOT_SAVED: _(
        "task {task_info} save task done status failed with error message: {error}."
    ),
    TASK_INFO_MISSING: _(
        "`task_info` field is required for a multi-steps task. payload={payload}."
    ),
    NO_TASK: _("got NO task in channels: {channels}."),
    CLAIMED: _("task {task_info} locked by another worker."),
    STEP_NOT_SAVED: _("task {task_info} failed to save status with error message: {error}."),
    ALREADY_DONE: _("task {task_info} already done, to do NOTHING."),
    NOT_DUE: _("task {task_info} is not due before {moment}."),
}
_CLAIM_LOST = _("the run has lost its claim: the row was reset, claimed again, done or deleted")


class DjangoSimpleTask2Error(RuntimeError):
    """An error with a code of the original's error table.

    ``code`` is an int of 2910000–2910016, ``message`` a str in the language active when
    it was raised. Pickles, so it travels from a worker's child to its parent and to
    result backends.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ClaimLost(DjangoSimpleTask2Error):
    """A run wrote to a row whose claim it no longer holds; nothing was changed."""


class AnswerLate(DjangoSimpleTask2Error):
    """The answer of an egress worker came late or twice: its row has gone on without it."""


class RowEnded(ClaimLost):
    """A run has lost its claim: its row was stopped, marked done, given up or deleted."""


class RowLocked(DjangoSimpleTask2Error):
    """2910013 of a READY row: no run has it, but somebody else's transaction locks it."""


class NotDue(DjangoSimpleTask2Error):
    """2910016: a row must not run yet. ``seconds`` says how long, by the database's clock."""

    seconds: float = 0.0


class Cancelled(Exception):
    """What ``errors`` of a durable row has where ``cancel()`` has ended it."""


def error(code: int, reason: str = "", **details: object) -> DjangoSimpleTask2Error:
    """Build the error of ``code``: its sentence with ``details``, then that of ``reason``."""
    sentence = str(MESSAGES[code]).format(**details)
    return DjangoSimpleTask2Error(code, f"{sentence} {reason}".strip())


def claim_lost(task_info: str, code: int = STEP_NOT_SAVED) -> ClaimLost:
    """Build the error of a write that found its claim gone."""
    return ClaimLost(code, str(MESSAGES[code]).format(task_info=task_info, error=_CLAIM_LOST))


def handler_failed(
    task_info: str, handler: str, cause: BaseException | str, more: str = ""
) -> DjangoSimpleTask2Error:
    """Build the error of a method that has raised ``cause``; ``more`` follows its text."""
    text = (cause if isinstance(cause, str) else in_words(cause)).removesuffix(".") + more
    return error(HANDLER_FAILED, task_info=task_info, handler=handler, error=text)


def row_locked(task_info: str) -> RowLocked:
    """Build the error of a claim that finds its row locked by somebody else's transaction."""
    return RowLocked(CLAIMED, str(MESSAGES[CLAIMED]).format(task_info=task_info))


def not_due(task_info: str, moment: object, seconds: float) -> NotDue:
    """Build the error of a claim that comes too early."""
    early = NotDue(NOT_DUE, str(MESSAGES[NOT_DUE]).format(task_info=task_info, moment=moment))
    early.seconds = seconds
    return early


def in_words(error: BaseException) -> str:
    """Return an error as "Class: text", or its class alone if its ``__str__`` fails."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:  # of the user's own __str__
        return name
