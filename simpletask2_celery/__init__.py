"""Tasks as rows: the row is the truth, and Celery only carries its name."""
