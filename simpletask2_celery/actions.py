"""The admin's actions, under the name that users import them by."""

from .admin.actions import ACTIONS as ACTIONS
from .admin.actions import DURABLE_ACTIONS as DURABLE_ACTIONS
from .admin.actions import asks_first as asks_first
from .admin.actions import cancel_selected_tasks as cancel_selected_tasks
from .admin.actions import force_do_selected_tasks as force_do_selected_tasks
from .admin.actions import mark_selected_tasks_done as mark_selected_tasks_done
from .admin.actions import publish_selected_tasks as publish_selected_tasks
from .admin.actions import reset_selected_tasks as reset_selected_tasks
from .admin.actions import retry_selected_tasks as retry_selected_tasks
from .admin.actions import stop_selected_tasks as stop_selected_tasks
