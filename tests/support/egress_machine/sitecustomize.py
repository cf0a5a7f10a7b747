"""A machine as an egress machine is: no Django, no project, no driver and no way to a database."""

import os
import socket
import sys

ABSENT = {"django", "tests", "django_redis", "psycopg", "psycopg2", "pymysql", "sqlite3"}
PORTS = {int(port) for port in os.environ["EGRESS_PORTS"].split(",")}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ImportError(f"{name} is not on this machine")


class Socket(socket.socket):
    """Reaches the broker and the sites, and nothing else."""

    def connect(self, address):
        self._require(address)
        return super().connect(address)

    def connect_ex(self, address):
        self._require(address)
        return super().connect_ex(address)

    def _require(self, address):
        if self.family == socket.AF_UNIX or address[1] not in PORTS:
            raise PermissionError(f"{address} is out of reach")


sys.meta_path.insert(0, Absent())
socket.socket = Socket
