"""What the original 0.1.12 and ours do differently, and why: all of it.

{scenario: {observation: (reason, the original's part, our part)}}, the parts being
what differs in the observation and nothing else.
"""

NOT_SEEN = "not seen"

# -- the reasons: lines of the compatibility facts ------------------------------

_5, _10 = "compatibility facts, section 5: ", "compatibility facts, section 10: "

NO_OBJECT = _5 + "2910001 for whatever is no JSON object"
NOT_TEXT = _5 + "2910001 for what the body's fields cannot be"
PK_OF_ITS_MODEL = _5 + "2910005 only for a pk that cannot be one of that model"
BAD_NAME = _5 + "2910005 for what is not app.model:pk; there is no 2910016"
NO_TASK_MODEL = _5 + "2910006 for a model that is not a SimpleTask"
NO_HANDLER = _5 + "2910007 where the step has no handler; the row is left as it is"
GONE = _5 + "2910004 where the row is gone"
NOT_FINISHED = _5 + "2910010 where the final state could not be saved"
NO_TASK_INFO = _5 + "2910011 for a call without task_info"
NONE_FOUND = _5 + "2910012 where get_a_task found nothing"
SOME_FOUND = _5 + "2910012 only where nothing is READY in the channels"
CLAIMED = _5 + "2910013 where the row is DOING and its lease still runs"
NOT_SAVED = _5 + "2910014 where an intermediate state could not be saved"
NOT_AT_STEP = _5 + "2910014 where the run has lost its claim, or never had one"
NOTHING_TO_DO = _5 + "an entry of a row not READY ends in 2910013 or 2910015: not pushed"
FORESEEN = _5 + "2910000 only for the unforeseen: of an answer that JSON lacks, the repr()"
OTHERS_GO_ON = _5 + "2910000 for the unforeseen; a reset logs it and goes on with others"
OWN_CODE = _5 + "2910009 for what the row's own code raises, which ends the row"
UNFORESEEN = _5 + "2910000 for the unforeseen; there is no 2910016"
SENTENCE = _5 + "the sentence is the table's"

REDIS_DOWN = _10 + "save() asks Redis for the timeouts first"
CHOSEN_KEY = _10 + "a row with a UUID or a chosen pk is never published"
LAST_ROW_ONLY = _10 + "inside atomic() a loop publishes only the last row"
TWO_START = _10 + "check, then save: two workers can both start a row"
FLOOD = _10 + "READY rows that merely wait in a long queue are pushed again"
LATE = _10 + "a late worker overwrites the state of a newer run"
OTHERS_WIN = _10 + "check, then save: what others changed meanwhile is overwritten"
AS_CLAIMED = _10 + "check, then save: a run starts from the row that its claim found"
OWN_STATE = _10 + "a reset overwrites a worker that is just finishing: also its own"
ACLKEY = _10 + "aclkey defaults to SECRET_KEY: handlers do not get it"

# Not from the sections 5 and 10.
CHANNEL = "compatibility facts, section 2: unset means channel default"
PAYLOAD = "compatibility facts, section 3: a payload has task_info and step"
STARTED = "compatibility facts, section 3: step 1 starts with current_step and step1_time"
POSTED = "compatibility facts, section 8: the calls are POSTed"
COUNTS = "compatibility facts, section 8: do_auto_reset answers {app.model: number}"

# -- messages of one code that differ in their words ----------------------------

#: {code: (reason, the original's sentence, ours)}: the details in the
#: groups are the same. Messages of different codes are not compared.
WORDING = {
    2910006: (SENTENCE, r"simple (task model \S+ not exists\.)", r"Simple (task .*)"),
    2910008: (
        SENTENCE,
        r"(task \S+ status is not READY but) Doing, you can NOT start it\.",
        r"(task \S+ status is not READY but) DOING, you can not start it again\.",
    ),
    2910009: (
        SENTENCE,
        r"(task \S+ calling do_task_main)(?:_step1)?(\S* failed with error message:) (.*)\.",
        r"(task \S+ calling do_task_main)(?:_step1)?(\S* failed with error message:) "
        r"\w+: (.*?)(?:; .*)?\.",
    ),
}

# -- the parts, in short --------------------------------------------------------


def ran(task_info, step, /, last=False, **data):
    result = {"continue_flag": not last, "task_info": task_info}
    return {"code": 0, "result": {**result, "next_step": step + 1, "data": data}}


def ended(task_info, step=1, /, **data):
    return ran(task_info, step, last=True, **data)


def handed_out(task_info):
    return {"code": 0, "result": task_info}


def refused(code):
    return {"code": code, "result": None}


def code(code):
    return {"code": code}


def state(times, status, step, success=None, note="", **more):
    values = {"times": times, "status": status, "current_step": step, **more}
    return {**values, "success": success, "note": note}


def whole(pk, times, status, step, success=None, note="", what="work", **more):
    values = {"id": pk, "what": what, "other": 0}
    return {**state(times, status, step, success, note), **values, **more}


def of_row(part, pk=1):
    return {f"{pk}.{name}": value for name, value in part.items()}


def without(part, *names):
    return {name: value for name, value in part.items() if name not in names}


def lists(**channels):
    found = {}
    for channel, entries in channels.items():
        found[f"django-simpletask2:channels:{channel}"] = entries
        found[f"django-simpletask2:channel-flags:{channel}"] = sorted(set(entries))
    return found


def counts(**numbers):
    models = "job two three four gap unwritten channeljob uuidjob codejob lostjob offlinejob"
    return {f"shop.{name}": numbers.get(name, 0) for name in models.split()}


MALFORMED = "simpletask2-celery:malformed:django-simpletask2:channels:default"
UUID = "shop.uuidjob:00000000-0000-0000-0000-000000000001"
READY = state("auto_reset", "READY", None)
DOING = state("start step1 auto_reset", "DOING", 1)
DONE = state("start step1 done", "DONE", 1, True, "1")

# -- the differences ------------------------------------------------------------

CREATING = {
    "created in a channel": {
        "lists 1": (
            CHANNEL,
            lists(**{"": ["shop.channeljob:4"], "None": ["shop.channeljob:5"]}),
            lists(default=["shop.channeljob:4", "shop.channeljob:5"]),
        )
    },
    "created with a chosen key": {
        "row 1": (CHOSEN_KEY, {"times": ""}, {"times": "auto_reset"}),
        "row 2": (CHOSEN_KEY, {"times": ""}, {"times": "auto_reset"}),
        "row 3": (CHOSEN_KEY, {"times": ""}, {"times": "auto_reset"}),
        "lists 1": (
            CHOSEN_KEY,
            {},
            lists(default=["shop.job:77", "shop.codejob:code", UUID]),
        ),
    },
    "created as: status=DOING": {
        "lists 1": (NOTHING_TO_DO, lists(default=["shop.job:1"]), {}),
    },
    "created as: status=DONE": {
        "row 1": (NOTHING_TO_DO, {"times": "auto_reset"}, {"times": ""}),
        "lists 1": (NOTHING_TO_DO, lists(default=["shop.job:1"]), {}),
    },
    "created with redis down": {
        "raised 1": (REDIS_DOWN, "ConnectionError", NOT_SEEN),
        "returned 1": (REDIS_DOWN, NOT_SEEN, None),
        "rows 1": (REDIS_DOWN, {}, {"1": whole(1, "auto_reset", "READY", None)}),
    },
    "a timeout at run time that is no number": {
        "raised 1": (REDIS_DOWN, "ValueError", NOT_SEEN),
        "returned 1": (REDIS_DOWN, NOT_SEEN, None),
        "rows 1": (
            REDIS_DOWN,
            {},
            {"1": whole(1, "auto_reset", "READY", None, topic="odd")},
        ),
    },
    "push to mq: status=DOING": {"lists 1": (NOTHING_TO_DO, lists(default=["shop.job:1"] * 2), {})},
    "push to mq: status=DONE": {"lists 1": (NOTHING_TO_DO, lists(default=["shop.job:1"] * 2), {})},
}

STEPS = {
    "one step with a chosen key": {
        "envelope 2": (
            PK_OF_ITS_MODEL,
            refused(2910005),
            ended("shop.codejob:code", noted="1"),
        ),
        "row 2": (PK_OF_ITS_MODEL, {**READY, "times": ""}, DONE),
        "envelope 3": (PK_OF_ITS_MODEL, refused(2910005), ended(UUID, noted="1")),
        "row 3": (PK_OF_ITS_MODEL, {**READY, "times": ""}, DONE),
    },
    "one step with an answer: what=answer_set": {
        "envelope 1": (
            FORESEEN,
            refused(2910000),
            {"code": 0, "result": {**ended("shop.job:1")["result"], "data": "{1}"}},
        )
    },
    "the payload of a step": {
        "row 1": (
            ACLKEY,
            {"note": '{"aclkey": "key", "more": [1], "task_info": "shop.two:1"}'},
            {"note": '{"more": [1], "step": 1, "task_info": "shop.two:1"}'},
        ),
        "row 2": (
            ACLKEY,
            {
                "note": '{"aclkey": "key", "proxied_content": null, "step": 2, '
                '"task_info": "shop.two:1"}'
            },
            {"note": '{"proxied_content": null, "step": 2, "task_info": "shop.two:1"}'},
        ),
    },
    "a step is posted twice": {
        "envelope 2": (CLAIMED, code(2910008), code(2910013)),
        "envelope 4": (CLAIMED, ran("shop.three:1", 2, noted="122"), refused(2910013)),
        "row 4": (CLAIMED, {"note": "122"}, {"note": "12"}),
        "envelope 5": (
            CLAIMED,
            {"result.data.noted": "1223"},
            {"result.data.noted": "123"},
        ),
        "row 5": (CLAIMED, {"note": "1223"}, {"note": "123"}),
        "row 6": (CLAIMED, {"note": "1223"}, {"note": "123"}),
    },
    "a step of a row that is ready: step=2": {
        "envelope 1": (NOT_AT_STEP, ran("shop.three:1", 2, noted="2"), refused(2910014)),
        "row 1": (
            NOT_AT_STEP,
            {"times": "step2 auto_reset", "current_step": 2, "note": "2"},
            {"times": "auto_reset", "current_step": None, "note": ""},
        ),
    },
    "a step of a row that is ready: step=3": {
        "envelope 1": (NOT_AT_STEP, ended("shop.three:1", 3, noted="3"), refused(2910014)),
        "row 1": (NOT_AT_STEP, state("step3 done", "DONE", 3, True, "3"), READY),
    },
    "a step is left out": {
        "envelope 2": (NOT_AT_STEP, ended("shop.three:1", 3, noted="13"), refused(2910014)),
        "row 1": (
            NOT_AT_STEP,
            state("start step1 step3 done", "DONE", 3, True, "13"),
            {**DOING, "note": "1"},
        ),
    },
    "a step after a reset": {
        "envelope 2": (LATE, ran("shop.three:1", 2, noted="12"), refused(2910014)),
        "row 1": (
            LATE,
            {"times": "step2 auto_reset", "current_step": 2, "note": "12"},
            {"times": "auto_reset", "current_step": None, "note": "1"},
        ),
    },
}

CODES = {
    "code 2910001 no json object: body=[1, 2]": {
        "envelope 1": (NO_OBJECT, code(2910000), code(2910001))
    },
    'code 2910001 no json object: body="text"': {
        "envelope 1": (NO_OBJECT, code(2910000), code(2910001))
    },
    "code 2910001 no json object: body=null": {
        "envelope 1": (NO_OBJECT, code(2910000), code(2910001))
    },
    r"""code 2910001 no json object: body=b'{"aclkey": "\xff"}'""": {
        "envelope 1": (NO_OBJECT, code(2910000), code(2910001))
    },
    "code 2910001 not posted": {
        "envelope 1": (POSTED, ended("shop.job:1", noted="1"), refused(2910001)),
        "row 1": (POSTED, DONE, READY),
    },
    "get a task with channels that are no text": {
        "envelope 1": (NOT_TEXT, code(2910000), code(2910001))
    },
    "code 2910004 the row is gone: task_info=shop.codejob:code": {
        "envelope 1": (PK_OF_ITS_MODEL, code(2910005), code(2910004))
    },
    "code 2910005 a bad task info: task_info=job:1": {
        "envelope 1": (BAD_NAME, code(2910016), code(2910005))
    },
    f"code 2910005 a bad task info: task_info=shop.job:{10**30}": {
        "envelope 1": (PK_OF_ITS_MODEL, code(2910004), code(2910005))
    },
    "code 2910006 a model that is no task": {
        "envelope 1": (NO_TASK_MODEL, code(2910000), code(2910006))
    },
    "code 2910007 no such step: step=1": {  # "1", a text
        "envelope 1": (NO_HANDLER, code(2910000), code(2910007)),
        "row 1": (
            NO_HANDLER,
            {"times": "step1 auto_reset", "current_step": 1, "note": "1"},
            {"times": "auto_reset", "current_step": None, "note": ""},
        ),
    },
    "code 2910007 no do task main": {
        "envelope 1": (NO_HANDLER, code(2910009), code(2910007)),
        "row 1": (
            NO_HANDLER,
            without({**DONE, "success": False}, "note"),
            without(READY, "note"),
        ),
    },
    "code 2910011 no task info: task_info=None": {
        "envelope 1": (NO_TASK_INFO, code(2910015), code(2910011))
    },
    "code 2910011 no task info: task_info=": {
        "envelope 1": (NO_TASK_INFO, code(2910015), code(2910011))
    },
    "code 2910011 no task info: task_info=0": {
        "envelope 1": (BAD_NAME, code(2910015), code(2910005))
    },
    "code 2910011 no task info at all": {
        "envelope 1": (NO_TASK_INFO, code(2910015), code(2910011))
    },
    "code 2910013 and 2910015 a row that is: status=DOING": {
        "envelope 1": (CLAIMED, code(2910008), code(2910013))
    },
    "code 2910000 the table is gone": {"envelope 1": (UNFORESEEN, code(2910016), code(2910000))},
    "code 2910000 a method of the row fails": {
        "envelope 1": (OTHERS_GO_ON, refused(2910000), {"code": 0, "result": counts()}),
        "envelope 2": (OWN_CODE, code(2910000), code(2910009)),
        "rows 1": (
            OWN_CODE,
            of_row({"times": "", "status": "READY", "current_step": None, "success": None}),
            of_row({**without(DONE, "note"), "success": False}),
        ),
    },
}

#: Of the last step: the original answers that all is well, and overwrites.
ALL_IS_WELL = ended("shop.job:1")
LAST_STEPS = {
    "code 2910010 the last step cannot be saved: what=others_reset": {
        "envelope 1": (LATE, ALL_IS_WELL, refused(2910010)),
        "rows 1": (LATE, of_row(DONE), of_row(READY)),
    },
    "code 2910010 the last step cannot be saved: what=others_claim": {
        "envelope 1": (LATE, ALL_IS_WELL, refused(2910010)),
        "rows 1": (
            LATE,
            of_row(without(DONE, "current_step")),
            of_row(without(DOING, "current_step")),
        ),
    },
    "code 2910010 the last step cannot be saved: what=others_finish": {
        "envelope 1": (LATE, ALL_IS_WELL, refused(2910010)),
        "rows 1": (
            LATE,
            of_row({"times": "start step1 done", "success": True, "note": "1"}),
            of_row({"times": "start step1", "success": False, "note": ""}),
        ),
    },
    "code 2910010 the last step cannot be saved: what=others_delete": {
        "envelope 1": (LATE, ALL_IS_WELL, refused(2910010)),
        "rows 1": (
            LATE,
            {"1": whole(1, "start step1 done", "DONE", 1, True, "1", "others_delete")},
            {},
        ),
    },
    "code 2910010 the last step cannot be saved: what=delete": {
        "envelope 1": (NOT_FINISHED, ended("shop.job:2"), refused(2910010)),
        "rows 1": (
            NOT_FINISHED,
            {"2": whole(2, "start step1 done auto_reset", "DONE", 1, True, "1", "delete")},
            {},
        ),
        "lists 1": (
            NOT_FINISHED,
            lists(default=["shop.job:1", "shop.job:2"]),
            lists(default=["shop.job:1"]),
        ),
    },
    "code 2910010 the last step cannot be saved: what=no_note": {
        "envelope 1": (NOT_FINISHED, code(2910000), code(2910010))
    },
    "a handler that fails after: what=others_reset_and_i_fail": {
        "rows 1": (LATE, of_row({**DONE, "success": False}), of_row(READY))
    },
    "a handler that fails after: what=others_delete_and_i_fail": {
        "rows 1": (
            LATE,
            {
                "1": whole(
                    *(1, "start step1 done", "DONE", 1, False, "1"),
                    what="others_delete_and_i_fail",
                )
            },
            {},
        )
    },
    "a handler that does: what=others_change": {"row 1": (OTHERS_WIN, {"other": 0}, {"other": 5})},
    "a handler that does: what=reset": {
        "envelope 1": (
            OWN_STATE,
            {"result.data.status": 10, "result.data.step": None},
            {"result.data.status": 20, "result.data.step": 1},
        ),
        "row 1": (
            OWN_STATE,
            {"times": "done", "current_step": None},
            {"times": "start step1 done", "current_step": 1},
        ),
    },
    "a handler that does: what=done": {
        "envelope 1": (OWN_STATE, {"result.data.status": 30}, {"result.data.status": 20})
    },
}

#: Of a step before the last: likewise.
GO_ON = ran("shop.two:1", 1)
EARLIER_STEPS = {
    "code 2910014 a step cannot be saved: what=1:others_reset": {
        "envelope 1": (LATE, GO_ON, refused(2910014)),
        "rows 1": (
            LATE,
            of_row(without({**DOING, "note": "1"}, "success")),
            of_row(without(READY, "success")),
        ),
    },
    "code 2910014 a step cannot be saved: what=1:others_reset_and_i_save": {
        "envelope 1": (LATE, ran("shop.two:1", 1, status=20, step=1), refused(2910014)),
        "rows 1": (
            LATE,
            of_row(without({**DOING, "note": "1"}, "success")),
            of_row(without(READY, "success")),
        ),
    },
    "code 2910014 a step cannot be saved: what=1:others_claim": {
        "envelope 1": (LATE, GO_ON, refused(2910014)),
        "rows 1": (LATE, of_row({"note": "1"}), of_row({"note": ""})),
    },
    "code 2910014 a step cannot be saved: what=1:others_finish": {
        "envelope 1": (LATE, GO_ON, refused(2910014)),
        "rows 1": (
            LATE,
            of_row(without({**DOING, "note": "1"}, "current_step")),
            of_row({"times": "start step1", "status": "DONE", "success": False, "note": ""}),
        ),
    },
    "code 2910014 a step cannot be saved: what=1:others_delete": {
        "envelope 1": (LATE, GO_ON, refused(2910014)),
        "rows 1": (
            LATE,
            {
                "1": whole(
                    *(1, "start step1 auto_reset", "DOING", 1, None, "1"),
                    what="1:others_delete",
                )
            },
            {},
        ),
    },
    "code 2910014 a step cannot be saved: what=1:delete": {
        "envelope 1": (NOT_SAVED, ran("shop.two:2", 1), refused(2910014)),
        "rows 1": (
            NOT_SAVED,
            {"2": whole(2, "start step1 auto_reset", "DOING", 1, None, "1", "1:delete")},
            {},
        ),
    },
    "code 2910014 a step cannot be saved: what=1:no_note": {
        "envelope 1": (NOT_SAVED, code(2910000), code(2910014))
    },
}

NEWLY_STARTED = (
    {"times": "start auto_reset", "current_step": None},
    {"times": "start step1 auto_reset", "current_step": 1},
)
METHODS = {
    "do task": {
        "held 1": (
            PAYLOAD,
            {"note": "{}"},
            {"note": '{"step": 1, "task_info": "shop.job:1"}'},
        ),
        "row 1": (
            PAYLOAD,
            {"note": "{}"},
            {"note": '{"step": 1, "task_info": "shop.job:1"}'},
        ),
    },
    "do task of the last step with force: status=READY": {
        "row 1": (STARTED, {"times": "step3 done"}, {"times": "start step1 step3 done"})
    },
    "do task without force: status=DOING": {"raised 1": (CLAIMED, code(2910008), code(2910013))},
    "do task of a row that is gone": {
        f"raised {number}": (
            GONE,
            "DoesNotExist",
            {
                "code": 2910004,
                "message": "got an already deleted task shop.job:1, "
                "you may ignore this and continue.",
            },
        )
        for number in (1, 2)
    },
    "do task of a row that others have changed": {
        "row 1": (AS_CLAIMED, {"other": 0}, {"other": 5})
    },
    "do task of an object with changes": {"row 1": (AS_CLAIMED, {"other": 5}, {"other": 0})},
    "do task of a row that others have started": {
        "returned 1": (TWO_START, ended("shop.job:1", noted="1")["result"], NOT_SEEN),
        "raised 1": (
            TWO_START,
            NOT_SEEN,
            {"code": 2910013, "message": "task shop.job:1 locked by another worker."},
        ),
        "row 1": (
            TWO_START,
            without(DONE, "current_step"),
            without(DOING, "current_step"),
        ),
    },
    "start: status=READY, force=False": {"row 1": (STARTED, *NEWLY_STARTED)},
    "start: status=READY, force=True": {"row 1": (STARTED, *NEWLY_STARTED)},
    "without saving: method=start": {"held 1": (STARTED, *NEWLY_STARTED)},
    "start of a row that others have started": {
        "returned 1": (TWO_START, True, False),
        "row 1": (STARTED, *NEWLY_STARTED),
    },
    "start and done say how it ended": {
        "row 1": (
            STARTED,
            {"times": "start done", "current_step": None},
            {"times": "start step1 done", "current_step": 1},
        )
    },
    "done of a row that others have reset": {
        "returned 1": (LATE, True, False),
        "row 1": (
            LATE,
            {"times": "start step1 done", "status": "DONE", "current_step": 1},
            {"times": "auto_reset", "status": "READY", "current_step": None},
        ),
    },
}

AUTO_RESET = {
    "auto reset of a row that still waits in its list": {
        "returned 1": (FLOOD, 1, 0),
        "lists 1": (
            FLOOD,
            {"django-simpletask2:channels:default": ["shop.job:1", "shop.job:1"]},
            {"django-simpletask2:channels:default": ["shop.job:1"]},
        ),
    },
    "auto reset in a transaction": {
        "lists 1": (
            LAST_ROW_ONLY,
            lists(default=["shop.job:3"] * 3),
            lists(default=["shop.job:1", "shop.job:2", "shop.job:3"]),
        )
    },
    "auto reset over http": {
        "envelope 1": (
            COUNTS,
            {
                "result.auto_reset": counts(job=1, two=2),
                "result.remove_duplicate_items": {},
                "result.update_channel_queue_size": {},
            },
            {f"result.{name}": n for name, n in counts(job=1, two=2).items()},
        )
    },
}

HANDING_OUT = {
    "get a task": {
        "row 1": (TWO_START, {"times": "auto_reset"}, {"times": "start auto_reset"}),
        "row 2": (TWO_START, {"times": "auto_reset"}, {"times": "start auto_reset"}),
    },
    "get a task code 2910012 an empty list": {
        "envelope 1": (NONE_FOUND, code(0), code(2910012)),
        "envelope 2": (NONE_FOUND, code(0), code(2910012)),
    },
    "get a task that is in no list": {
        "envelope 1": (SOME_FOUND, {"result": None}, {"result": "shop.job:1"})
    },
    "get a task that is: status=DOING": {
        "envelope 1": (NONE_FOUND, handed_out("shop.job:1"), refused(2910012))
    },
    "get a task that is: status=DONE": {
        "envelope 1": (NONE_FOUND, handed_out("shop.job:1"), refused(2910012))
    },
    "get a task that is gone": {
        "envelope 1": (NONE_FOUND, handed_out("shop.job:1"), refused(2910012))
    },
    "get a task that is none": {
        "envelope 1": (NONE_FOUND, handed_out("nonsense"), refused(2910012)),
        "lists 1": (
            NONE_FOUND,  # it is kept for inspection
            {},
            {"simpletask2-celery:malformed:django-simpletask2:channels:default": ["nonsense"]},
        ),
    },
}

DIFFERENCES = {
    **CREATING,
    **STEPS,
    **CODES,
    **LAST_STEPS,
    **EARLIER_STEPS,
    **METHODS,
    **AUTO_RESET,
    **HANDING_OUT,
}
