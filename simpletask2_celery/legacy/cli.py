"""The command ``simpletask2-celery``: what django-simpletask2-server was, on Celery.

``start`` is a supervisor: it runs a real Celery worker and a real beat as the old YAML file
says, and starts again the one that dies. The command takes every option of the old one
(section 9 of the compatibility page).
"""

import os
import sys
import time
from typing import Any

import click
import yaml
from celery.app.utils import find_app

from .. import __version__
from . import supervisor, yaml_file
from .yaml_file import KEYS, UNUSED, ConfigFileError

_SHORT = {"server": "-s", "aclkey": "-a", "redis": "-r", "threads": "-t"}
_BROKER = "SIMPLETASK2_BROKER_URL"  # of an egress worker
_OF_THE_FILE_ALONE = ("request_timeout", "stop-signal", "stop-timeout")


def _option(name: str) -> click.Option:
    kind = yaml_file.TYPES[KEYS[name]][-1]
    return click.Option(
        [*_SHORT.get(name, "").split(), f"--{name}/--no-{name}" if kind is bool else f"--{name}"],
        type=kind,
        default=None,
        help="Has no meaning here." if name in UNUSED else f"Instead of the file's {name}.",
        envvar=supervisor.REDIS if name == "redis" else None,
    )


@click.group(
    params=[
        click.Option(["-A", "--app"], help="The Celery app, as in celery -A."),
        click.Option(["-c", "--config"], type=click.Path(), help="The YAML file."),
        *(_option(name) for name in KEYS if name not in _OF_THE_FILE_ALONE),
    ]
)
@click.version_option(__version__, prog_name="simpletask2-celery")
@click.pass_context
def main(ctx: click.Context, /, app: str | None, config: str | None, **options: Any) -> None:
    """Run Celery's worker and beat for a project's simple tasks."""
    options = {name.replace("_", "-"): v for name, v in options.items() if v is not None}
    try:
        values = yaml_file.read(config) if config else {}
    except ConfigFileError as error:
        raise click.ClickException(str(error)) from None
    for name, value in options.items():
        if problem := yaml_file.check(name, value):
            raise click.UsageError(f"{problem} (--{name}).")
    ctx.obj = supervisor.Plan(app, config or "command line", {**values, **options})
    for name, value in {"app": app, "config": config, **options}.items():
        if isinstance(value, bool):
            ctx.obj.arguments.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None and name != "redis" and name not in UNUSED:
            ctx.obj.arguments.append(f"--{name}={value}")


@main.command()
@click.option("--detach", is_flag=True, help="Run in the background.")
@click.pass_obj
def start(plan: supervisor.Plan, detach: bool) -> None:
    """Run worker and beat, in the foreground unless --detach or --daemon is given."""
    _warn_of_two_brokers(plan)  # mistakes are better said before there is a process
    if detach or plan.values.get("daemon"):
        click.echo(supervisor.detach(plan))
    else:
        supervisor.run(plan)


@main.command()
@click.pass_obj
def stop(plan: supervisor.Plan) -> None:
    """Stop what runs, warmly: steps under way are finished."""
    click.echo(supervisor.stop(plan))


@main.command()
@click.option("--sleep-seconds", type=int, default=0, help="Wait between stop and start.")
@click.pass_obj
def restart(plan: supervisor.Plan, sleep_seconds: int) -> None:
    """Stop what runs, then run it in the background."""
    _warn_of_two_brokers(plan)
    click.echo(supervisor.stop(plan))
    time.sleep(sleep_seconds)
    click.echo(supervisor.detach(plan))


@main.command()
@click.pass_obj
def status(plan: supervisor.Plan) -> None:
    """Say whether it runs: exit code 0 if it does, 3 if it does not."""
    pid = supervisor.running(plan)
    click.echo(f"running, pid {pid}" if pid else "not running")
    sys.exit(0 if pid else 3)


@main.command()
@click.pass_obj
def show_config(plan: supervisor.Plan) -> None:
    """Print what Celery will be told, without passwords."""
    from ..publishing import broker
    from ..recovery import schedule
    from . import config_file

    _app_of(plan)
    settings = config_file.celery_settings(plan.values)
    if "broker_url" in settings:
        settings["broker_url"] = broker.shown(settings["broker_url"])
    if "task_queues" in settings:
        settings["task_queues"] = [queue.name for queue in settings["task_queues"]]
    if "beat_schedule" in settings:  # without the project's own entries
        settings["beat_schedule"] = {schedule.ENTRY: settings["beat_schedule"][schedule.ENTRY]}
    files = {"pidfile": str(plan.pidfile), "logfile": str(plan.logfile or "-")}
    settings |= {**files, "loglevel": plan.loglevel}
    click.echo(yaml.safe_dump(settings, sort_keys=False), nl=False)


@main.command()
@click.pass_obj
def egress(plan: supervisor.Plan) -> None:
    """Make the proxy requests of a project here, in the foreground: no -A, no Django.

    Of the file it takes redis, threads, logfile, loglevel and workspace. What the environment says
    (SIMPLETASK2_BROKER_URL and others) comes first.
    """
    yaml_file.log_unused(plan.values, plan.source)
    environment = dict(os.environ)
    if "redis" in plan.values:
        environment.setdefault(_BROKER, yaml_file.broker_url(plan.values["redis"]))
    if not environment.get(_BROKER):
        raise click.UsageError(f"Name the broker: redis in the file, --redis, or {_BROKER}.")
    options = ["--loglevel", plan.loglevel]
    if plan.logfile:
        options += ["--logfile", str(plan.logfile)]
    if "threads" in plan.values:
        options += ["--concurrency", str(plan.values["threads"])]
    command = [sys.executable, "-m", "celery", "-A", "simpletask2_celery.egress", "worker"]
    os.execve(sys.executable, [*command, *options], environment)


@main.command(hidden=True)
@click.argument("role", type=click.Choice(supervisor.ROLES))
@click.pass_obj
def child(plan: supervisor.Plan, role: str) -> None:
    """Be the worker or the beat of a supervisor."""
    from . import config_file

    app = _app_of(plan)
    app.conf.update(config_file.celery_settings(plan.values))
    supervisor.end_with_parent()
    options = ["--loglevel", plan.loglevel]
    if plan.logfile:
        options += ["--logfile", str(plan.logfile)]
    if role == "worker":
        options += ["--hostname", f"{str(plan.app).replace(':', '.')}.{plan.pidfile.stem}@%h"]
    else:
        options += ["--schedule", str(plan.schedule), "--pidfile", ""]
    app.start([role, *options])


def _warn_of_two_brokers(plan: supervisor.Plan) -> None:
    """Warn where the project publishes to another broker than its worker will take from."""
    from ..publishing import broker
    from . import config_file

    published = _app_of(plan).conf.broker_write_url
    served = config_file.celery_settings(plan.values).get("broker_url", published)
    # The variable replaces what the file says, in the worker as well.
    if "CELERY_BROKER_URL" not in os.environ and not broker.is_same(published, served):
        here, there = broker.shown(served), broker.shown(published)
        click.echo(
            f"Warning: the worker takes rows from {here}, and the project publishes them to "
            f"{there}. Let the project load the file, too, or give both the same broker.",
            err=True,
        )


def _app_of(plan: supervisor.Plan) -> Any:
    if plan.app is None:
        raise click.UsageError("Name the Celery app: simpletask2-celery -A proj …")
    if str(plan.origin) not in sys.path:
        sys.path.insert(0, str(plan.origin))
    try:
        app = find_app(plan.app)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"No Celery app at -A {plan.app}: {error}") from None
    except ConfigFileError as error:  # of a project that loads the file itself
        raise click.ClickException(str(error)) from None
    app.set_current()
    return app


if __name__ == "__main__":
    main()
