"""What a lane's processes have imported before they are forked: Django, Celery, the app.

It opens no connection and starts no thread, so that a fork of it is as good as new.
"""

import celery.apps.beat
import celery.apps.worker
import celery.bin.celery
import celery.concurrency.prefork
import celery.worker.components
import celery.worker.consumer  # noqa: F401
import django

django.setup()

from tests.proofs.faults.celery import app  # noqa: E402  needs the settings

app.loader.import_default_modules()
