from procrastinate.contrib.django import app

from . import job


@app.task
def greet(pk):
    job.greet(pk)
