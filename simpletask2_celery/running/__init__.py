"""A worker runs a row.

- ``executor``: the story: claim, steps, proxy requests, finish
- ``steps``: one handler, sync or async, and what it may answer
- ``retries``, ``cancelling``: when a durable row is tried again, and its end by its caller
- ``atomic_steps``: a step in one transaction with the write that ends it
- ``requesting``: who makes a step's proxy request, this process or an egress worker
- ``answers_back``: what an egress worker has sent back
- ``heartbeat``: leases renewed while their run lives
- ``envelope``: how a run's answer is wrapped for Celery and HTTP
- ``only_json``: no message is decoded that is not JSON
- ``proxy``: the HTTP requests that steps ask for
"""
