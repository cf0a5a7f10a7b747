"""A database server's URL as Django settings; imports nothing of ours."""

import os
from urllib.parse import parse_qs, unquote, urlsplit

RUN = os.environ["TEST_RUN"].replace("-", "_")
CHILD = "TEST_CHILD" in os.environ  # a process that a test has started


def server(url):
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    mysql = parts.scheme.startswith("mysql")
    if mysql:
        import pymysql

        pymysql.version_info = (2, 2, 1, "final", 0)  # what Django asks of mysqlclient
        pymysql.install_as_MySQLdb()
    name = parts.path.strip("/")
    options = {}
    if mysql:  # without TLS: PyMySQL reads all certificates anew for each connection
        options = {"isolation_level": "read committed", "ssl_disabled": True}
    if "CHILD_POOL" in os.environ:
        options["pool"] = {"min_size": 1, "max_size": 4}
    return {
        "ENGINE": f"django.db.backends.{'mysql' if mysql else 'postgresql'}",
        "NAME": RUN if CHILD else name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or query.get("host", ""),
        "PORT": parts.port or "",
        "TEST": {"NAME": RUN},
        "OPTIONS": options,
    }
