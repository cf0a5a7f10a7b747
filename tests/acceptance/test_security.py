"""What the log of a worker does not hold."""

import pytest

from tests.support import ALIASES
from tests.support.fixtures import wait_until
from tests.support.project.jobs.models import Steps
from tests.support.rows import done, on_each


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_no_secret_of_a_run_with_proxy_steps_is_in_the_log_of_a_worker(worker):
    url = "http://user:s3cret@127.0.0.1:1/path?token=s3cret"
    rows = on_each(Steps, what="always_proxied", url=url)
    process = worker("-l", "DEBUG", children=1, CHILD_HIJACK_ROOT_LOGGER="1")
    wait_until(done(*rows), what=process.log)
    ended = [f"'{row.get_task_info()}: OK'" for row in rows]  # not what the step returned
    wait_until(lambda: all(text in process.log.read_text() for text in ended))
    log = process.log.read_text()
    assert "proxy request failed: ConnectionError: Connection refused" in log
    assert "Starting new HTTP connection" in log  # urllib3's own line
    assert "s3cret" not in log
