"""The original 0.1.12 and ours do the same, but for the differences that are listed.

Each scenario runs on both sides, each side in a process of its own.
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proofs.differential.differences import DIFFERENCES, NOT_SEEN, WORDING
from tests.proofs.differential.scenarios import SCENARIOS
from tests.support import originals


@pytest.fixture(scope="module")
def seen(servers, tmp_path_factory):
    """Return what each side saw: {side: {scenario: {observation: value}}}."""
    folder = tmp_path_factory.mktemp("differential")
    pythons = {"original": originals.web_python(), "ours": sys.executable}
    with ThreadPoolExecutor() as pool:
        runs = {side: pool.submit(_run, side, pythons[side], folder) for side in pythons}
        return {side: run.result() for side, run in runs.items()}


def _run(side, python, folder):
    environ = originals.environ(DIFFERENTIAL_SIDE=side, DIFFERENTIAL_FOLDER=str(folder))
    done = subprocess.run(
        [python, "-m", "tests.proofs.differential.scenarios"],
        cwd=originals.ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_sides_differ_only_as_listed(seen, scenario):
    found = dict(_differences(seen["original"][scenario], seen["ours"][scenario]))
    listed = DIFFERENCES.get(scenario, {})
    assert found == {name: tuple(values) for name, (_, *values) in listed.items()}


def test_both_sides_ran_every_scenario(seen):
    assert list(seen["original"]) == list(seen["ours"]) == list(SCENARIOS)


def test_the_page_knows_how_many_they_are():
    page = (originals.ROOT / "docs/move/migrating.md").read_text()
    assert f" {len(SCENARIOS)} scenarios " in page


def test_every_listed_difference_has_its_scenario_and_its_reason():
    assert DIFFERENCES.keys() <= SCENARIOS.keys()
    reasons = [reason for listed in DIFFERENCES.values() for reason, *_ in listed.values()]
    reasons += [reason for reason, *_ in WORDING.values()]
    assert all(re.match(r"compatibility facts, section \d+: ", r) for r in reasons)


def test_every_listed_wording_still_differs(seen):
    unused = dict(WORDING)
    for scenario in SCENARIOS:
        ours = seen["ours"][scenario]
        for name, answer in seen["original"][scenario].items():
            if _is_reworded(answer, ours.get(name)):
                unused.pop(answer["code"], None)
    assert unused == {}


# -- comparing ------------------------------------------------------------------


def _differences(original, ours):
    """Yield (observation, (the original's part, our part)) where the two differ."""
    for name in {**original, **ours}:
        a, b = original.get(name, NOT_SEEN), ours.get(name, NOT_SEEN)
        parts = _apart(a, b) if isinstance(a, dict) and isinstance(b, dict) else (a, b)
        if parts[0] != parts[1]:
            yield name, parts


def _apart(a, b):
    """Return of two dicts the items that differ, those of dicts in them as "a.b"."""
    parts = {}, {}
    for name in {**a, **b}:
        both = a.get(name), b.get(name)
        if name == "message" and (a["code"] != b["code"] or _is_reworded(a, b)):
            continue  # a message says what its code does
        if all(isinstance(value, dict) for value in both):
            for part, differing in zip(parts, _apart(*both), strict=True):
                part.update({f"{name}.{key}": value for key, value in differing.items()})
        elif both[0] != both[1] or (name in a) != (name in b):
            for part, side in zip(parts, (a, b), strict=True):
                part.update({name: side[name]} if name in side else {})
    return parts


def _is_reworded(a, b):
    """Tell whether two messages of one code differ in the words listed and only there."""
    if not (isinstance(a, dict) and isinstance(b, dict) and a.get("code") in WORDING):
        return False
    if a["code"] != b.get("code") or a["message"] == b["message"]:
        return False
    _, original, ours = WORDING[a["code"]]
    details = re.fullmatch(original, a["message"]), re.fullmatch(ours, b["message"])
    return None not in details and details[0].groups() == details[1].groups()
