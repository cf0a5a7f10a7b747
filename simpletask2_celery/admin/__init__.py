"""The admin of task models: see what they do, why one is stuck, and put it right.

``admin.site.register(HelloTask, SimpleTaskAdmin)``

- ``model_admin``: the ModelAdmin: columns, search, the page of a row
- ``changelist``: the list of rows: its pages, dates and filters
- ``cells``, ``timeline``: a row's state as words, badges and bars
- ``attempts``: what a durable row remembers: attempts, errors, a return value
- ``actions``: what an operator does to rows, and the question before it
- ``dashboard``: the figures on one page
"""

from .model_admin import SimpleTaskAdmin, SimpleTaskAdminMixin

__all__ = ["SimpleTaskAdmin", "SimpleTaskAdminMixin"]
