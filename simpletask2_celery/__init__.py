"""Tasks as rows: the row is the truth, and Celery only carries its name.

    row.save() / row.publish()
        │  after the commit                                        publishing/
        ▼
    Celery's queue: {"app_label", "model", "id"}
        ▼
    tasks.do_task ─► claim ─► step 1 ─► proxy ─► … ─► finish       running/, rows/
        ▲
    tasks.do_auto_reset: rows whose lease is over ─► READY         recovery/

The modules beside this one are doors: what Django looks for and what users import. The rooms,
in the order of a row's life: ``rows`` (the only one that writes a state column),
``publishing``, ``running``, ``recovery``; ``fast`` holds the shortcuts, ``watching`` counts,
``admin`` shows and steers, ``legacy`` is for those who come from django-simpletask2. Imports
go only down: pyproject.toml has the order.
"""
