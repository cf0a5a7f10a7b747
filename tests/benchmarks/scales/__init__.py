"""What is measured once, each next to its base: {name: function of ``quick``}.

Each returns its title, the head and the lines of its table, and the figures that the
targets are about.
"""

from tests.benchmarks.scales.aging import aging
from tests.benchmarks.scales.bulk import bulk, memory
from tests.benchmarks.scales.durable import due, durable
from tests.benchmarks.scales.egress import egress
from tests.benchmarks.scales.function_tasks import function_tasks
from tests.benchmarks.scales.imports import imports
from tests.benchmarks.scales.limits import limits
from tests.benchmarks.scales.proxies import proxies
from tests.benchmarks.scales.resets import resets
from tests.benchmarks.scales.saves import saves
from tests.benchmarks.scales.shortcuts import shortcuts
from tests.benchmarks.scales.watching import watching
from tests.benchmarks.scales.ways import ways

SCALES = {
    "saves": saves,
    "bulk": bulk,
    "memory": memory,
    "resets": resets,
    "durable": durable,
    "due": due,
    "function_tasks": function_tasks,
    "proxies": proxies,
    "egress": egress,
    "aging": aging,
    "watching": watching,
    "imports": imports,
    "limits": limits,
    "shortcuts": shortcuts,
    "ways": ways,
}
