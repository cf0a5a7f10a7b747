"""The row of everybody else, with the columns that its life needs."""

from django.db import models

READY, DOING, DONE = 10, 20, 30


class Row(models.Model):
    name = models.CharField(max_length=64)
    status = models.IntegerField(default=READY)
    start_time = models.DateTimeField(null=True)
    done_time = models.DateTimeField(null=True)
    success = models.BooleanField(null=True)

    def greet(self):
        return {"greeting": f"Hello, {self.name}."}
