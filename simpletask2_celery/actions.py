"""The admin's actions, under the name that users import them by."""

from .admin.actions import (
    ACTIONS,
    asks_first,
    force_do_selected_tasks,
    mark_selected_tasks_done,
    publish_selected_tasks,
    reset_selected_tasks,
    stop_selected_tasks,
)

__all__ = [
    "ACTIONS",
    "asks_first",
    "force_do_selected_tasks",
    "mark_selected_tasks_done",
    "publish_selected_tasks",
    "reset_selected_tasks",
    "stop_selected_tasks",
]
