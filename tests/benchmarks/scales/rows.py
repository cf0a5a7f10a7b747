"""Rows that the database makes by itself, as many as are wanted, in no time."""

from tests.benchmarks import servers
from tests.benchmarks.systems import SYSTEMS

READY, DOING, DONE = 10, 20, 30


def fill(table, count, status, lease=None, at="now()", **more):
    """Fill a table of ours, with all of a row at one time.

    ``lease`` is when it is over, ``at`` the time of the ``n``-th row, ``more`` other columns: in
    SQL.
    """
    names, values = (", ".join(["", *part]) for part in (more, more.values()))
    SYSTEMS["ours"].make_tables()
    servers.run(f"TRUNCATE {table}")
    servers.run(
        f"INSERT INTO {table} (name, add_time, mod_time, status, start_time, done_time, "
        f"success, auto_reset_time{names}) SELECT 'row ' || n, {at}, {at}, "
        f"{status}, {'NULL' if status == READY else at}, "
        f"{f'{at}, n % 100 > 0' if status == DONE else 'NULL, NULL'}, {lease or 'NULL'}{values} "
        f"FROM generate_series(1, {count}) n"
    )
    servers.run(f"VACUUM ANALYZE {table}")
    servers.settle()
