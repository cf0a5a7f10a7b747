"""The YAML file of the old server."""

import pytest

#: As it stands in the original's document.
SEED = """\
redis: "redis://:xxx@xxx:6379/0?decode_responses=True"
channels: default
server: https://localhost:80000/django-simpletask2/
aclkey: xxxx
task-pull-engine: redis
threads: 1
idle-sleep: 5
error-sleep: 5
auto-reset-task-interval: 60
do-auto-reset-task: true
"""


@pytest.fixture
def file(tmp_path):
    """Write a file, of text or bytes; return its path."""

    def write(content):
        path = tmp_path / "config.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
