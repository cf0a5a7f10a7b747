"""The published servers of django-simpletask2: ours takes their files and options."""

import re
import subprocess

import pytest
import yaml

from simpletask2_celery.legacy import config_file
from simpletask2_celery.legacy.cli import main
from tests.support import originals


def test_every_key_of_the_old_server_is_known(file):
    program = "import django_simpletask2_server as s, json;" + (
        "print(json.dumps(s.DjangoSimpleTask2Server().get_default_config()"
        " | s.DjangoSimpleTask2Server.default_config, default=int))"
    )
    for python in (originals.web_python(), originals.server("0.0.6").parent / "python"):
        done = subprocess.run([python, "-c", program], capture_output=True, text=True)
        defaults = yaml.safe_load(done.stdout.splitlines()[-1])
        assert set(defaults) <= set(config_file.KEYS), done.stderr
        defaults = {k: v for k, v in defaults.items() if k != "redis"}
        config_file.load(file(yaml.safe_dump(defaults)))


@pytest.mark.parametrize("version", ["0.1.1", "0.0.6"])
def test_every_option_of_the_old_command_is_accepted(version):
    program = originals.server(version)
    helped = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    old = set(re.findall(r"--[a-z][a-z-]+", helped)) - {"--help"}
    assert len(old) > 20
    ours = {o for p in main.params for o in (*p.opts, *p.secondary_opts)}
    assert old <= ours
