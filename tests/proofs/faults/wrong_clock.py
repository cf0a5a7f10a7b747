"""The settings of a worker whose clock is off by ``FAULTS_CLOCK`` seconds.

A stand-in for a wrong system clock: ``django.utils.timezone.now`` is what the library and
Django's own fields ask. Nothing else in the process is shifted.
"""

import os
from datetime import timedelta

from django.utils import timezone

from tests.proofs.faults.settings import *  # noqa: F403

_right = timezone.now


def _wrong():
    return _right() + timedelta(seconds=int(os.environ["FAULTS_CLOCK"]))


timezone.now = _wrong
