"""The log formatter of the page about observing writes what the page shows."""

import json

from tests.pages.project import Project
from tests.support.fixtures import ROOT
from tests.support.pages import blocks

PAGE = ROOT / "docs/operate/observing.md"
TYPED = """
import logging, sys
from shop.models import Report
[handler] = logging.getLogger("simpletask2_celery").handlers
handler.setStream(sys.stdout)
report = Report.objects.create(text="one two three")
report.do_task()
Report.do_task_main = lambda self, payload: 1 / 0
try:
    Report.objects.create(text="one").do_task()
except Exception:
    logging.getLogger("simpletask2_celery.of_a_test").exception("of two\\nlines")
"""


def test_each_record_is_a_line_of_json(tmp_path, broker):
    project = Project(tmp_path, broker)
    project.begin(PAGE)
    before = (["makemigrations", "shop", "-v", "0"], ["migrate", "-v", "0"])
    said = project.manage(*before, ["shell", "-v", "0", "-c", TYPED])
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    events = ["published", "started", "step finished", "done"]
    assert [line["message"] for line in lines[:4]] == [f"shop.report:1: {one}" for one in events]
    [shown] = [json.loads(block.text) for block in blocks(PAGE, "text")]
    done = lines[3]
    assert {**done, "time": 0, "duration": 0} == {**shown, "time": 0, "duration": 0}
    assert done["duration"] >= 0 and len(done["time"]) == len(shown["time"])
    *_, failed, of_a_test = lines
    assert (failed["message"], failed["code"]) == ("shop.report:2: failed", 2910009)
    assert "ZeroDivisionError" in of_a_test["traceback"] and "task_info" not in of_a_test
