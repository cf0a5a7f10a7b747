"""The rows of ``demo --keep``: something to look at on every page of the admin."""

from io import StringIO
from itertools import cycle, islice

from django.core.management import call_command
from django.db import transaction

from .models import ExportTask, HelloTask, MailTask, PaymentTask, WorldTask

NAMES = ["Ada", "Grace", "Alan", "Barbara", "Edsger", "Frances", "Donald", "Radia"]
BATCH, RESERVE = 30, 5  # mails that come at once, and how many are left when they come


def drip(second, page):
    """Create the rows of one second, one or two on average; delete old ones."""
    if second % 2:
        HelloTask.objects.create(name=NAMES[second // 2 % len(NAMES)])
    elif second % 4:
        WorldTask.objects.create(url=page)
    else:
        PaymentTask.objects.create(number=second // 4 + 1)
    if not unfinished(ExportTask).exists():
        ExportTask.objects.create()
    if unfinished(MailTask).count() <= RESERVE:
        with transaction.atomic():  # one trip to the broker
            for name in islice(cycle(NAMES), BATCH):
                MailTask.objects.create(to=f"{name.lower()}@example.com")
    if second % 10 == 0:
        prune = {"all_models": True, "older_than": "1h", "interactive": False}
        call_command("simpletask2_prune", **prune, stdout=StringIO())


def unfinished(model):
    return model.objects.exclude(status=model.DONE)
