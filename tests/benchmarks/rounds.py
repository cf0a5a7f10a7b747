"""The systems in turn, round by round, so that what slows the machine slows them all."""

import statistics
import sys
import time
import traceback

from tests.benchmarks.systems import NotThere, measure

SINGLES, SECONDS = 200, 15  # rows of a latency, and the most time that they get


def run(systems, rounds, rows, quick):
    """Return {name: {figure: median}}; or why there is none, as "missing" or "failed"."""
    found = {system.name: [] for system in systems}
    problems = {}
    began = time.monotonic()
    singles = (20, 2) if quick else (SINGLES, SECONDS)
    for system in systems:
        problems[system.name] = attempt(lambda s=system: s.make_tables() or {})
    for number in range(rounds):
        # From the other end every other round: nobody is always first.
        for system in systems if number % 2 == 0 else reversed(systems):
            if problems[system.name]:
                continue
            result = attempt(measure, system, rows, *singles)
            if "failed" in result or "missing" in result:
                problems[system.name] = result
            else:
                found[system.name].append(result)
            say(began, f"round {number + 1}, {system.title}", result)
    return {
        name: problems[name] if problems[name] else medians(results)
        for name, results in found.items()
    }


def medians(results):
    return {
        figure: statistics.median(result[figure] for result in results) for figure in results[0]
    }


def attempt(act, *arguments):
    """Call it; what is not there or fails becomes a result that says so."""
    try:
        return act(*arguments)
    except NotThere as reason:
        return {"missing": str(reason)}
    except Exception as error:
        traceback.print_exc()
        last = [type(error).__name__, *str(error).strip().splitlines()][-1]
        return {"failed": last}  # all of it is on the screen


def say(began, what, result):
    figures = ", ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in result.items()
    )
    line = f"{time.monotonic() - began:4.0f} s  {what}: {figures}"
    print(line, file=sys.stderr, flush=True)
