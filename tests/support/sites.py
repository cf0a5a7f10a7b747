"""HTTP servers of the tests, and a network whose names and addresses a test makes up."""

import contextlib
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from simpletask2_celery.running.proxy import fetching

CERTIFICATE = str(Path(__file__).parent / "site.example.pem")  # with its key


@pytest.fixture
def no_kept_connections():
    """Close the sessions that requests of a test have left open."""
    yield
    for session in fetching._sessions.values():
        session.close()
    fetching._sessions.clear()


@pytest.fixture
def site():
    """A server that says "hello"."""
    with serving() as server:
        yield server


@pytest.fixture
def slow_site():
    """The URL of a server that takes a second for each answer."""
    with serving() as server:
        yield f"http://127.0.0.1:{server.server_port}/?wait=1"


class Answers(BaseHTTPRequestHandler):
    """``/?to=<url>`` redirects there, all else says "hello"; ``wait`` is in seconds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(float(query.get("wait", ["0"])[0]))
        to = query.get("to")
        self.send_response(302 if to else 200)
        if to:
            self.send_header("Location", to[0])
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *args):
        pass


class Site(ThreadingHTTPServer):
    """Counts the connections that reach it, and keeps what is sent."""

    daemon_threads = True

    def __init__(self, tls=False):
        super().__init__(("127.0.0.1", 0), Answers)
        self.connections = 0
        self.seen = []
        self.body = b"hello"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def get_request(self):
        accepted = super().get_request()
        self.connections += 1
        return accepted

    def handle_error(self, request, client_address):
        pass


@contextlib.contextmanager
def serving(**options):
    with Site(**options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


class Network:
    """``names``: host to its addresses, or to an answer for each time it is asked.

    Every address leads to this machine, whatever it is; ``asked`` are the names that
    were looked up, ``reached`` the addresses that a connection was made to, ``dead``
    those that refuse one.
    """

    def __init__(self, monkeypatch):
        from simpletask2_celery.running.proxy import policy

        self.names, self.asked, self.reached, self.dead = {}, [], [], set()
        self._getaddrinfo = socket.getaddrinfo
        self._connect = policy.create_connection
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(policy, "create_connection", self.connect)

    def getaddrinfo(self, host, port, *rest, **more):
        if host not in self.names:
            return self._getaddrinfo(host, port, *rest, **more)
        self.asked.append(host)
        answers = self.names[host]
        answer = answers.pop(0) if isinstance(answers[0], list) else answers
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port))
            for ip in answer
        ]

    def connect(self, address, *rest, **more):
        self.reached.append(address[0])
        if address[0] in self.dead:
            raise ConnectionRefusedError(111, "refused")
        return self._connect(("127.0.0.1", address[1]), *rest, **more)
