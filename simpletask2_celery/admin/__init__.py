"""The admin of task models: see what they do, why one is stuck, and put it right.

admin.site.register(HelloTask, SimpleTaskAdmin)
"""

from .model_admin import SimpleTaskAdmin, SimpleTaskAdminMixin

__all__ = ["SimpleTaskAdmin", "SimpleTaskAdminMixin"]
