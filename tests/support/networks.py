"""Networks as users have them: silent servers, slow names, dead addresses, long ways."""

import contextlib
import socket
import threading
import time


@contextlib.contextmanager
def silent():
    """Lend the port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def dead_addresses(count):
    """Lend addresses that answer nothing: their queues of connections are full."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for _ in range(count):
            server = stack.enter_context(socket.socket())
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            addresses.append(server.getsockname())
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(addresses[-1])
        yield addresses


def resolve_slowly(monkeypatch, seconds=10):
    """Let names under .test take so long, and not be found."""

    def answer(host, *_):
        time.sleep(seconds)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    _answer_names(monkeypatch, answer)


def resolve_to(monkeypatch, addresses):
    """Let names under .test have these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    _answer_names(monkeypatch, lambda *_: found)


def _answer_names(monkeypatch, answer):
    real = socket.getaddrinfo

    def getaddrinfo(host, *rest, **more):
        is_ours = str(host).endswith(".test")
        return answer(host) if is_ours else real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextlib.contextmanager
def far_away(host, port, seconds):
    """Lend a port that leads to a server, where an answer takes ``seconds`` longer."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as front:
        threading.Thread(
            target=_accept, args=(front, (host, port), seconds / 2), daemon=True
        ).start()
        yield front.getsockname()[1]


def _accept(front, address, delay):
    with contextlib.suppress(OSError):
        while True:
            near = front.accept()[0]
            far = socket.create_connection(address)
            for ends in ((near, far), (far, near)):
                arguments = *ends, delay
                threading.Thread(target=_carry, args=arguments, daemon=True).start()


def _carry(source, target, delay):
    with source, contextlib.suppress(OSError):
        while data := source.recv(65536):
            time.sleep(delay)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
