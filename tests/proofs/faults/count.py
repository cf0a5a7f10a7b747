"""Count what came of a fault, from the rows, the ledger and the trigger's record."""

from collections import Counter, defaultdict
from datetime import datetime

from tests.proofs.faults.rig import DOING, DONE, patiently
from tests.proofs.faults.shop.models import LEASE, TASKS, Durable, Effect, Ledger, Write


def count():
    """Return the numbers of the table; five of them must be 0."""
    ledger = list(Ledger.objects.order_by("pk"))
    rows = patiently(lambda: {r.get_task_info(): r for m in TASKS for r in m.objects.all()})
    created = {line.row: line.seen - line.began for line in ledger if line.what == "created"}
    gone = {line.row for line in ledger if line.what == "deleted"}
    by_hand = {line.row for line in ledger if line.what == "done"}
    complete = completed_claims(ledger)
    effects = patiently(lambda: Counter(Effect.objects.values_list("row", "step")))
    lost = [
        name
        for name in sorted(rows.keys() | created.keys())
        if not accounted_for(name, rows.get(name), gone, by_hand, complete)
    ]
    return {
        "rows": len(rows.keys() | created.keys()),
        "runs": len({(i.row, i.token) for i in ledger if i.what == "step"}),
        "lost": lost,
        "twice": overlaps(ledger),
        "late": late_writes() + sorted(gone & rows.keys()),
        "effects": sum(effects.values()),
        "doubled": sorted(f"{row} step {step}" for (row, step), n in effects.items() if n > 1),
        "missing": missing(rows, effects),
        "retries": sum(len(row.errors) for row in rows.values() if isinstance(row, Durable)),
        "save": round(max(created.values(), default=0), 1),
    }


def completed_claims(ledger):
    """Return {(row, token): steps completed} of every claim."""
    steps = defaultdict(set)
    for line in ledger:
        if line.what == "step" and line.completed:
            steps[line.row, datetime.fromisoformat(line.token)].add(line.step)
    return steps


def accounted_for(name, row, gone, by_hand, complete):
    """Tell whether the row is deleted on purpose or DONE, and by a run that did it all."""
    if name in gone or row is None:
        return name in gone
    if row.status != DONE:
        return False
    steps = complete.get((name, row.start_time), set())
    if isinstance(row, Durable):  # which goes on after the steps of earlier claims
        steps = set().union(*(done for (one, _), done in complete.items() if one == name))
    ran = steps == set(range(1, row.final_step + 1))
    return name in by_hand or bool(row.success and ran)


def missing(rows, effects):
    """Return the steps whose effect and whose row disagree on whether they are completed."""
    there = {name: {step for row, step in effects if row == name} for name in rows}
    return [
        f"{name} {sorted(there[name])} of {row.completed_step}"
        for name, row in sorted(rows.items())
        if isinstance(row, Durable) and there[name] != set(range(1, row.completed_step + 1))
    ]


def overlaps(ledger):
    """Return the rows that a second claim ran while the first ran and had its lease.

    A claim ends with its handler, with the last sign of life of a process that was
    killed, with its lease, or with an operator who takes it away. Where requests are
    handed over, each step is a run of its own, with a lease of its own.
    """
    found = []
    taken = defaultdict(list)
    claims = defaultdict(list)
    for line in ledger:
        if line.what in ("reset", "deleted", "done"):
            taken[line.row].append(line.began)
        elif line.what == "step":
            step = line.step if line.row.startswith("shop.asking:") else None
            claims[line.row, line.token, line.process, step].append(line)
    by_row = defaultdict(list)
    for (row, _, _, step), lines in claims.items():
        began = min(line.began for line in lines)
        ends = [max(line.seen for line in lines)]
        if step is None:
            ends.append(lines[0].claimed + LEASE)
        ends += [when for when in taken[row] if when >= began]
        by_row[row].append((began, min(ends)))
    for row, spans in sorted(by_row.items()):
        spans.sort()
        for (_, end), (began, _) in zip(spans, spans[1:], strict=False):
            if began < end:
                found.append(row)
                break
    return found


def late_writes():
    """Return the writes whose mark names a claim that did not hold the row any more."""
    return [
        f"{write.row} {write.mark}"
        # An operator's reset() saves the row as he had loaded it, perhaps without a mark.
        for write in patiently(lambda: list(Write.objects.exclude(mark="")))
        if write.status != DOING or write.token != datetime.fromisoformat(write.mark.split()[0])
    ]
