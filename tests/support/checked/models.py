"""One wrong thing a model; those below "Sound" are right, odd as some of them are."""

import datetime
from functools import wraps

from django.db import models, transaction
from django.utils.functional import classproperty

from simpletask2_celery.models import DurableTask, SimpleTask


class Task(SimpleTask):
    def do_task_main(self, payload):
        """Do nothing."""

    class Meta:
        abstract = True


def passes_on(function):
    @wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def passes_more(function):
    @wraps(function)
    def call(*args, **kwargs):
        return function(*args, cache={}, **kwargs)

    return call


def without_payload(function):
    @wraps(function)
    def call(self, payload=None):
        return function(self)

    return call


# -- steps that never run --------------------------------------------------------------


class StepAboveFinal(SimpleTask):
    final_step = 2

    def do_task_main_step1(self, payload=None): ...

    def do_task_main_step2(self, payload=None): ...

    def do_task_main_step3(self, payload=None): ...


class StepWithoutFinal(Task):
    def do_task_main_step2(self, payload=None): ...


class StepZero(Task):
    def do_task_main_step0(self, payload=None): ...


class StepMisspelt(Task):
    def do_task_main_step_1(self, payload=None): ...


# -- numbers ---------------------------------------------------------------------------


class TimeoutText(Task):
    do_task_timeout = "300"


class TimeoutDelta(Task):
    task_wait_timeout = datetime.timedelta(minutes=5)


class TimeoutZero(Task):
    do_task_timeout = 0


class TimeoutNegative(Task):
    task_wait_timeout = -1


class TimeoutNan(Task):
    do_task_timeout = float("nan")


class TimeoutTrue(Task):
    do_task_timeout = True


class TimeoutProperty(Task):
    @property
    def do_task_timeout(self):
        return 300


class TimeoutField(Task):
    task_wait_timeout = models.IntegerField(default=300)


class Raising:
    def __get__(self, row, owner):
        raise RuntimeError("odd")


class TimeoutRaising(Task):
    do_task_timeout = Raising()


class QueueNumber(Task):
    proxy_queue = 7


class QueueList(Task):
    proxy_queue = ["simpletask2.egress"]


class QueueTrue(Task):
    proxy_queue = True


class KeepText(Task):
    keep_done = "30d"


class KeepDelta(Task):
    keep_done = datetime.timedelta(days=30)


class KeepNegative(Task):
    keep_done = -1


class KeepNan(Task):
    keep_done = float("nan")


class KeepForever(Task):
    keep_done = float("inf")


class KeepTrue(Task):
    keep_done = True


class KeepField(Task):
    keep_done = models.IntegerField(default=300)


class FinalStepFar(Task):
    """It has no more than a hundred reports, and not for long."""

    final_step = 10**12


class FinalStepText(Task):
    final_step = "1"


class FinalStepZero(Task):
    final_step = 0


class FinalStepFloat(Task):
    final_step = 1.0


# -- channels --------------------------------------------------------------------------


class ChannelMisspelt(Task):
    kind = models.CharField(max_length=20)
    channel_field = "knid"


class ChannelFieldItself(Task):
    channel_field = models.CharField(max_length=20)


class ChannelMethod(Task):
    channel_field = "kind"

    def kind(self):
        return "mail"


class ChannelMany(Task):
    kinds = models.ManyToManyField("contenttypes.ContentType")
    channel_field = "kinds"


# -- handlers --------------------------------------------------------------------------


class HandlerAlone(SimpleTask):
    def do_task_main(self): ...


class HandlerOfTwo(SimpleTask):
    def do_task_main(self, payload, more): ...


class HandlerByKeyword(SimpleTask):
    def do_task_main(self, *, payload): ...


class HandlerStatic(SimpleTask):
    @staticmethod
    def do_task_main(): ...


class HandlerInTransaction(SimpleTask):
    @transaction.atomic
    def do_task_main(self): ...


class HandlerOfStep2(SimpleTask):
    final_step = 2

    def do_task_main_step1(self, payload): ...

    async def do_task_main_step2(self): ...


# -- columns ---------------------------------------------------------------------------


class StatusText(Task):
    status = models.CharField(max_length=20, default="new")


class StatusOfItsOwn(Task):
    status = models.IntegerField(default=0)


class StatusProperty(Task):
    @property
    def status(self):
        return "new"


class SuccessNotNull(Task):
    success = models.BooleanField(default=False)


class StartTimeDay(Task):
    start_time = models.DateField(null=True)


class DoneText(Task):
    DONE = "done"


class WithStatus(models.Model):
    status = models.CharField(max_length=20, default="new")

    class Meta:
        abstract = True


class StatusOfMixin(WithStatus, Task):
    pass


# -- names -----------------------------------------------------------------------------


class FieldStart(Task):
    start = models.DateTimeField(null=True)


class FieldPublish(Task):
    publish = models.BooleanField(default=True)


class FieldReset(Task):
    reset = models.ForeignKey("self", models.CASCADE, null=True, related_name="done")


class Publishing:
    def publish(self):
        self.is_public = True


class PublishOfMixin(Publishing, Task):
    pass


class PublishSaves(Task):
    def publish(self):
        """It calls a method of SimpleTask, and not the one that it hides."""
        super().save()


class WithStart(models.Model):
    start = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class StartOfMixin(WithStart, Task):
    pass


class Place(models.Model):
    start = models.DateTimeField(null=True)


class StartOfParent(Task, Place):
    """The row has the parent's value, although SimpleTask is found first."""


class PrivateName(Task):
    def _change(self): ...


class StatusChoices(Task):
    STATUS = [("open", "Open")]


class SaveField(Task):
    save = models.BooleanField(default=True)


# -- durable models --------------------------------------------------------------------


class PlainParent(Task):
    pass


class Durable(DurableTask):
    def do_task_main(self, payload):
        """Do nothing."""

    class Meta:
        abstract = True


class RetryForText(Durable):
    autoretry_for = "ValueError"


class RetryForInstance(Durable):
    autoretry_for = (ValueError(),)


class RetryNotForText(Durable):
    dont_autoretry_for = ["KeyError"]


class RetriesText(Durable):
    max_retries = "3"


class RetriesTrue(Durable):
    max_retries = True


class RetriesNegative(Durable):
    max_retries = -1


class RetriesHalf(Durable):
    max_retries = 1.5


class DelayDelta(Durable):
    default_retry_delay = datetime.timedelta(minutes=3)


class DelayNegative(Durable):
    default_retry_delay = -1


class DelayNone(Durable):
    default_retry_delay = None


class BackoffZero(Durable):
    retry_backoff = 0


class BackoffText(Durable):
    retry_backoff = "2"


class BackoffMaxEndless(Durable):
    retry_backoff_max = float("inf")


class JitterOne(Durable):
    retry_jitter = 1


class ResumeText(Durable):
    resume = "yes"


class ResumeMethod(Durable):
    def resume(self): ...


class AtomicOne(Durable):
    atomic_steps = 1


class OptionsOfSimple(Task):
    autoretry_for = (ValueError,)
    max_retries = 5
    resume = True


class AtomicAsync(DurableTask):
    atomic_steps = True
    final_step = 2

    def do_task_main_step1(self, payload): ...

    async def do_task_main_step2(self, payload): ...


class ResumedUpload(DurableTask):
    resume = True
    final_step = 2

    def do_task_main_step1(self, payload):
        return {"proxy": {"method": "POST", "url": "https://example.com", "files": {"a": b"x"}}}

    def do_task_main_step2(self, payload): ...


class ResumedText(DurableTask):
    """Nothing is wrong with it."""

    resume = True
    final_step = 2

    def do_task_main_step1(self, payload):
        return {"proxy": {"method": "POST", "url": "https://example.com", "data": "a file"}}

    def do_task_main_step2(self, payload): ...


class StateOfParent(PlainParent, DurableTask):
    pass


# -- Sound -----------------------------------------------------------------------------


class Plain(Task):
    pass


class EveryOption(Durable):
    autoretry_for = ValueError
    dont_autoretry_for = [KeyError, UnicodeError]
    max_retries = None
    default_retry_delay = 0.5
    retry_backoff = 2.5
    retry_backoff_max = 0
    retry_jitter = False
    resume = True
    atomic_steps = True


class DurableChild(EveryOption):
    """State and memory are both in the parent's table."""

    extra = models.CharField(max_length=20)


class OwnNames(Task):
    """Fields, methods and constants of its own, that only have the names of options."""

    max_retries = models.IntegerField(default=3)
    resume = property(lambda self: True)
    retry_backoff = "exponential"

    def atomic_steps(self): ...


class AsyncAlone(DurableTask):
    async def do_task_main(self, payload): ...


class KeepNothing(Task):
    keep_done = 0


class KeepAMinute(Task):
    keep_done = 60.5


class KeepAll(KeepAMinute):
    keep_done = None


class Shorter(StepAboveFinal):
    """A base has more steps than this model wants; the base's own report is the base's."""

    final_step = 1


class LongBase(SimpleTask):
    final_step = 3

    def do_task_main_step1(self, payload): ...

    def do_task_main_step2(self, payload): ...

    def do_task_main_step3(self, payload): ...

    class Meta:
        abstract = True


class ShortChild(LongBase):
    final_step = 2


class LongChild(LongBase):
    pass


class Overriding(Task):
    """Everything that is meant to be overridden."""

    is_multi_steps = True
    do_task_timeout = 0.5
    task_wait_timeout = 10**6
    SIMPLE_TASK_FIELDS = ["status"]
    channel_name = models.CharField(max_length=20)
    channel_field = "channel_name"

    def do_task_main_step1(self, payload=None, *args): ...

    def get_do_task_timeout(self):
        return 5

    def get_task_wait_timeout(self):
        return 5

    def get_channel_name(self):
        return "mail"

    @classmethod
    def get_redis_conn(cls): ...

    def current_step_display(self):
        return ""

    def final_step_number(self):
        return 1


class Adding(Task):
    """Methods that add to what they override."""

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)

    def delete(self, *args, **kwargs):
        return SimpleTask.delete(self, *args, **kwargs)

    @classmethod
    def from_db(cls, db, field_names, values):
        return super().from_db(db, field_names, values)

    def publish(self, *args, **kwargs):
        return super().publish(*args, **kwargs)

    @transaction.atomic
    def reset(self, save=True):
        return super().reset(save)

    @classmethod
    def do_auto_reset(cls):
        return super().do_auto_reset()

    def done(self, **kwargs):
        return SimpleTask.done(self, **kwargs)


class AddingLater(Task):
    def publish(self, **options):
        transaction.on_commit(lambda: super(AddingLater, self).publish(**options))


class Grandchild(Adding):
    pass


class BetterColumns(Task):
    """The same columns, with an index and other words."""

    status = models.PositiveSmallIntegerField(
        "State", choices=SimpleTask.STATUS, default=SimpleTask.READY, db_index=True
    )
    add_time = models.DateTimeField("Ordered", auto_now_add=True, db_index=True)
    success = models.BooleanField("Well", null=True)


class ChannelProperty(Task):
    channel_field = "kind"

    @property
    def kind(self):
        return "mail"


class ChannelConstant(Task):
    channel_field = "kind"
    kind = "mail"


class ChannelOfKey(Task):
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    channel_field = "parent_id"


class ChannelOfMethod(Task):
    channel_field = "whatever"

    def get_channel_name(self):
        return "mail"


class ChannelNone(Task):
    channel_field = None


class HandlerDecorated(SimpleTask):
    @passes_on
    def do_task_main(self, payload): ...


class HandlerAdapted(SimpleTask):
    @without_payload
    def do_task_main(self): ...


class HandlerGivenMore(SimpleTask):
    @passes_more
    def do_task_main(self, payload, cache): ...


class HandlerOpen(SimpleTask):
    def do_task_main(self, *args): ...


class HandlerOfClass(SimpleTask):
    @classmethod
    def do_task_main(cls, data): ...


class Answer:
    def __call__(self, payload): ...


class HandlerCallable(SimpleTask):
    do_task_main = Answer()


class HelperOfItsOwn(SimpleTask):
    """Here do_task_main is no handler: step 1 has its own."""

    def do_task_main(self): ...

    def do_task_main_step1(self, payload): ...


class MixinAfter(Task, Publishing):
    """SimpleTask's publish() is found first."""


class Odd(Task):
    """A descriptor that nobody may ask, and one that the class may."""

    odd = Raising()

    @classproperty
    def do_task_timeout(cls):
        return 300


class Car(Task):
    final_step = "swapped models have no table: nobody asks"

    class Meta:
        swappable = "CHECKED_CAR_MODEL"


class Replacement(Task):
    pass


class PlainProxy(Plain):
    start = None

    class Meta:
        proxy = True


class PlainChild(Plain):
    extra = models.CharField(max_length=20)


class ChildOfWrong(FieldStart):
    """What is wrong is the parent's, which is named."""


class QueueField(Task):
    proxy_queue = models.CharField(max_length=9)


class QueueOfRow(Task):
    @property
    def proxy_queue(self):
        return "simpletask2.egress"


class QueueOfWorkers(Task):
    proxy_queue = ""
