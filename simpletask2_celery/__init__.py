"""Tasks as rows: the row is the truth, and Celery only carries its name.

    row.save() / row.publish()
        │  after the commit                                        publishing/
        ▼
    Celery's queue: {"app_label", "model", "id"}
        ▼
    tasks.do_task ─► claim ─► step 1 ─► proxy ─► … ─► finish       running/, rows/
        ▲
    tasks.do_auto_reset: lease over or message lost ─► READY       recovery/

The modules beside this one are doors, which Django looks for and users import, or are shared by
all rooms (``conf``, ``exceptions``, ``signals``, ``indexes``). The rooms, in the order of a row's
life: ``rows`` (the only one that writes a state column), ``publishing``, ``running``,
``recovery``. ``fast`` holds the shortcuts, ``watching`` counts, ``checks`` finds what is wrong
before it costs a row, ``admin`` shows and steers, ``legacy`` is for those who come from
django-simpletask2, and ``management`` has the commands.

The picture shows time. Imports go down in another order, which pyproject.toml has: doors, admin
and legacy, watching, tasks, models, running and recovery, publishing, rows, fast, conf.
"""

__version__ = "0.1.0"
