"""The base classes of tasks: a row is the task, its fields the input, its methods the steps.

- ``simple``: ``SimpleTask``, with the eleven columns of the original
- ``durable``: ``DurableTask``, which also remembers attempts, errors, a result and a time to start
"""

from .durable import DurableTask
from .simple import SimpleTask

__all__ = ["DurableTask", "SimpleTask"]
