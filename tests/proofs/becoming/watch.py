"""Says what the tables hold, whatever code made them: a line of JSON for each line that it reads.

A line with keys of rows lets their leases, and their waits, be over first.
"""

import datetime
import json
import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.db import connection

    for line in sys.stdin:
        found = {}
        with connection.cursor() as cursor:
            for pk in json.loads(line):
                over = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
                statement = "UPDATE shop_order SET auto_reset_time = %s WHERE id = %s"
                moment = connection.ops.adapt_datetimefield_value(over)
                cursor.execute(statement, [moment, pk])
            for table in ("order", "entry"):
                cursor.execute(f"SELECT * FROM shop_{table} ORDER BY id")
                names = [column[0] for column in cursor.description]
                found[table] = [dict(zip(names, one, strict=True)) for one in cursor.fetchall()]
        print(json.dumps(found, default=str), flush=True)
