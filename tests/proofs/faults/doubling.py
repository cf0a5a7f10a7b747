"""An egress worker that sends each answer three times: twice at once, and once more later."""

import threading

from simpletask2_celery import egress

app = egress.app
_send = egress._send


def _send_thrice(*arguments):
    _send(*arguments)
    _send(*arguments)
    threading.Timer(0.7, _send, arguments).start()


egress._send = _send_thrice
