"""Of tests that do not apply: simpletask2_prune and keep_done delete our rows."""

import logging

logger = logging.getLogger(__name__)
