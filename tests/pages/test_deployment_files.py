"""The files of a deployment: systemd's, Docker's, Kubernetes', Prometheus' and ours."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from simpletask2_celery.legacy import config_file
from tests.pages import commands
from tests.pages.project import BIN
from tests.support import pages
from tests.support.fixtures import ROOT
from tests.support.pages import PAGES, blocks

KUBERNETES = "1.34"


def test_the_units_of_systemd(tmp_path):
    units = [b for page in PAGES for b in blocks(page, "ini")]
    assert units
    for unit in units:
        parser = configparser.RawConfigParser(strict=True)
        parser.optionxform = str
        parser.read_string(unit.text)
        run = parser["Service"]["ExecStart"].replace("%%", "%").replace("%i", "celery")
        commands.check(run.split())
        # The programs are where the tests have theirs.
        text = unit.text.replace("/srv/proj/.venv/bin", str(BIN))
        (tmp_path / Path(unit.path).name).write_text(text)
    if analyze := shutil.which("systemd-analyze"):
        for path in tmp_path.iterdir():
            instance = str(path).replace("@.", "@celery.")
            printed = output(analyze, "verify", "--man=no", instance)
            assert str(tmp_path) not in printed and path.name not in printed, printed


def test_the_dockerfile(tmp_path):
    [block] = [b for page in PAGES for b in blocks(page, "dockerfile")]
    (tmp_path / "Dockerfile").write_text(block.text)
    assert output(BIN / "hadolint", tmp_path / "Dockerfile") == ""
    command = block.text.partition("CMD ")[2]
    commands.check(yaml.safe_load(command))


def test_the_yaml_files(tmp_path):
    files = [block for page in PAGES for block in blocks(page, "yaml")]
    assert files
    for block in files:
        manifests = [*yaml.safe_load_all(block.text)]
        if block.path == "compose.yaml":
            (tmp_path / block.path).write_text(block.text)
            schema = ["--builtin-schema", "vendor.compose-spec"]
            printed = output(BIN / "check-jsonschema", *schema, tmp_path / block.path)
            assert printed.startswith("ok"), printed
        elif block.path.startswith("prometheus/"):
            check_prometheus(manifests)
        elif block.path.startswith("etc/"):
            (tmp_path / "server.yml").write_text(block.text)
            assert config_file.load(tmp_path / "server.yml")["worker_concurrency"]
        else:
            for manifest in manifests:
                kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        for command in commands_in(manifests):
            commands.check(command)


def check_prometheus(manifests):
    """Rules name metrics and labels that there are, scrapes have targets."""
    [manifest] = manifests
    for scrape in manifest.get("scrape_configs", []):
        assert scrape["job_name"] and scrape["static_configs"][0]["targets"]
    for group in manifest.get("groups", []):
        for rule in group["rules"]:
            assert rule["alert"] and rule["annotations"]["summary"]
            check_query(rule["expr"])


def check_query(query):
    """Each metric is one of the page's table, and each label one of a metric's."""
    metrics = pages.metrics()
    names = re.findall(r"simpletask2_\w+", query)
    assert names, query
    labels = {"le"}
    for name in names:
        base = name if name in metrics else re.sub("_(sum|count|bucket)$", "", name)
        assert base in metrics, f"{query}: there is no {name}"
        labels |= metrics[base]
    for by, condition in re.findall(r"by \(([^)]*)\)|\{(\w+)[=!]", query):
        named = {label.strip() for label in (by or condition).split(",")}
        assert named <= labels, f"{query}: {named - labels} are no labels"


def test_the_queries_of_panels():
    page = (ROOT / "docs/operate/observing.md").read_text()
    queries = re.findall(r"^\| [^|]+ \| `([^`]+)` \|$", page, re.MULTILINE)
    queries = [query for query in queries if "(" in query]
    assert queries
    for query in queries:
        check_query(query)


def test_a_query_of_what_is_not_there_is_found():
    with pytest.raises(AssertionError, match="there is no simpletask2_ended_total"):
        check_query("sum(rate(simpletask2_ended_total[5m]))")
    with pytest.raises(AssertionError, match="'queue'"):
        check_query("sum by (queue) (rate(simpletask2_started_total[5m]))")


def output(*command):
    """Return all that a command prints, however it ends."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def commands_in(value):
    """Yield the commands of compose's services and Kubernetes' containers."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("command", "test") and isinstance(one, list):
                words = one[1:] if one[0] == "CMD" else one
                shell = words[:2] == ["sh", "-c"]
                yield from commands.commands(words[2]) if shell else [words]
            else:
                yield from commands_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from commands_in(one)
