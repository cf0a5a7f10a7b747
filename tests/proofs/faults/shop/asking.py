"""Rows whose first two steps ask for a request, which an egress worker makes."""

from . import handlers
from .models import TASKS, Row, models

QUEUE = "faults.egress"
LARGE = 3 * 1024 * 1024  # bytes of an answer that the broker refuses


class Asking(Row):
    url = models.CharField(max_length=200)

    is_multi_steps = True
    final_step = 3
    proxy_queue = QUEUE

    class Meta:
        app_label = "shop"

    def do_task_main_step1(self, payload):
        handlers.run(self, payload)
        return {"proxy": {"method": "GET", "url": self.url}}

    def do_task_main_step2(self, payload):
        self.require_answer(payload)
        return self.do_task_main_step1(payload)

    def do_task_main_step3(self, payload):
        self.require_answer(payload)
        handlers.run(self, payload)

    def require_answer(self, payload):
        """Fail, and be counted as lost, unless the answer is what its URL leads to expect."""
        is_too_large = self.url.endswith(f"size={LARGE}")
        assert bool(payload["proxied_error"]) == is_too_large, payload["proxied_error"]


TASKS.append(Asking)
