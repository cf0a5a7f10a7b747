from django.apps import AppConfig


class SimpleConfig(AppConfig):
    name = "tests.benchmarks.simple"

    def ready(self):
        from django.conf import settings

        if settings.LIBRARY == "simpletask2_celery":
            from tests.benchmarks import without

            without.leave_out()
