"""What a worker of Celery's does, in the test's process: it runs what its queues hold."""

from celery import current_app
from django.core.management.base import BaseCommand

from simpletask2_celery.conf import conf
from simpletask2_celery.publishing.messages import DO_TASK
from simpletask2_celery.recovery import auto_reset

QUEUES = ("default", "queue-1")


class Command(BaseCommand):
    stealth_options = (
        *("batch", "exclude_queues", "interval", "max_tasks", "queue_name", "startup_delay"),
        *("backend_name", "worker_id"),
    )

    def handle(self, **options):
        excluded = options.get("exclude_queues", "").split(",")
        names = options.get("queue_name", "default").split(",")
        names = [one for one in QUEUES if one not in excluded] if names == ["*"] else names
        auto_reset.run()
        with current_app.connection_for_write() as connection:
            for name in names:
                self._drain(connection.default_channel, name)

    def _drain(self, channel, name):
        is_default = name == "default"
        queue = "celery" if is_default else conf.queue_template.format(channel=name)
        while message := channel.basic_get(queue, no_ack=True):
            arguments = channel.message_to_python(message).payload[1]
            current_app.tasks[DO_TASK].apply(kwargs=arguments)
