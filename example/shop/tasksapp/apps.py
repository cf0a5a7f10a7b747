from django.apps import AppConfig


class TasksAppConfig(AppConfig):
    name = "shop.tasksapp"
    verbose_name = "Tasks of the demo"
