"""The command ``simpletask2-celery``: what django-simpletask2-server was, on Celery.

``start`` is a supervisor: it runs a real Celery worker and a real beat, told by the old
YAML file what to do, and starts again the one that dies. It takes every option of the
old command (compatibility facts, section 9).
"""

import sys
import time
from typing import Any

import click
import yaml
from celery.app.utils import find_app
from kombu.utils.url import maybe_sanitize_url

from ..recovery import schedule
from . import config_file, supervisor
from .config_file import ConfigFileError

_NUMBER = {"int": int, "float": float}


def _old_option(name: str, *short: str) -> Any:
    """Make the option of one of the file's keys."""
    key = config_file.KEYS[name]
    parameter = name.replace("-", "_")
    meaning = f"Instead of the file's {name}." if key.meant else "Has no meaning here."
    if key.tags == ("bool",):
        return click.option(f"--{name}/--no-{name}", parameter, default=None, help=meaning)
    kind = _NUMBER.get(key.tags[-1], str)
    variable = supervisor.REDIS if name == "redis" else None
    options = (*short, f"--{name}", parameter)
    return click.option(*options, type=kind, help=meaning, envvar=variable)


_SHORT = {"server": "-s", "aclkey": "-a", "redis": "-r", "threads": "-t"}


def _old_options(command: Any) -> Any:
    for name in reversed(config_file.KEYS):
        if name not in ("request_timeout", "stop-signal", "stop-timeout"):  # of the file
            command = _old_option(name, *filter(None, [_SHORT.get(name)]))(command)
    return command


@click.group()
@click.option("-A", "--app", help="The Celery app, as in celery -A.")
@click.option("-c", "--config", type=click.Path(), help="The YAML file.")
@_old_options
@click.pass_context
def main(ctx: click.Context, /, app: str | None, config: str | None, **options: Any) -> None:
    """Run Celery's worker and beat for a project's simple tasks."""
    given = {name.replace("_", "-"): v for name, v in options.items() if v is not None}
    try:
        values = config_file.read(config) if config else {}
    except ConfigFileError as error:
        raise click.ClickException(str(error)) from None
    for name, value in given.items():
        if problem := config_file.check(name, value):
            raise click.UsageError(f"{problem} (--{name}).")
    ctx.obj = supervisor.Plan(app, config or "command line", {**values, **given})


@main.command()
@click.option("--detach", is_flag=True, help="Run in the background.")
@click.pass_obj
def start(plan: supervisor.Plan, detach: bool) -> None:
    """Run worker and beat, in the foreground unless --detach or --daemon is given."""
    _app_of(plan)  # whose mistakes are better said before there is a process
    if detach or plan.values.get("daemon"):
        click.echo(_or_fail(supervisor.detach, plan, _arguments()))
    else:
        _or_fail(supervisor.run, plan, _arguments())


@main.command()
@click.pass_obj
def stop(plan: supervisor.Plan) -> None:
    """Stop what runs, warmly: steps under way are finished."""
    click.echo(_or_fail(supervisor.stop, plan))


@main.command()
@click.option("--sleep-seconds", type=int, default=0, help="Wait between stop and start.")
@click.pass_obj
def restart(plan: supervisor.Plan, sleep_seconds: int) -> None:
    """Stop what runs, then run it in the background."""
    _app_of(plan)
    click.echo(_or_fail(supervisor.stop, plan))
    time.sleep(sleep_seconds)
    click.echo(_or_fail(supervisor.detach, plan, _arguments()))


@main.command()
@click.pass_obj
def status(plan: supervisor.Plan) -> None:
    """Say whether it runs: exit code 0 if it does, 3 if it does not."""
    pid = _or_fail(supervisor.running, plan)
    click.echo(f"running, pid {pid}" if pid else "not running")
    sys.exit(0 if pid else 3)


@main.command("show-config")
@click.pass_obj
def show_config(plan: supervisor.Plan) -> None:
    """Print what Celery will be told, without passwords."""
    _app_of(plan)
    told = config_file.celery_settings(plan.values)
    if "broker_url" in told:
        told["broker_url"] = maybe_sanitize_url(told["broker_url"])
    if "task_queues" in told:
        told["task_queues"] = [queue.name for queue in told["task_queues"]]
    if "beat_schedule" in told:  # of the project's own entries it is not the place
        entry = told["beat_schedule"][schedule.ENTRY]
        told["beat_schedule"] = {schedule.ENTRY: entry}
    files = {"pidfile": str(plan.pidfile), "logfile": str(plan.logfile or "-")}
    shown = {**told, **files, "loglevel": plan.loglevel}
    click.echo(yaml.safe_dump(_plain(shown), sort_keys=False), nl=False)


@main.command(hidden=True)
@click.argument("role", type=click.Choice(supervisor.ROLES))
@click.pass_obj
def child(plan: supervisor.Plan, role: str) -> None:
    """Be the worker or the beat of a supervisor."""
    app = _app_of(plan)
    app.conf.update(config_file.celery_settings(plan.values))
    supervisor.end_with_parent()
    app.start([role, *plan.options_of(role)])


def _plain(value: Any) -> Any:
    """Return what YAML can show: a crontab of the project's, for one, as its text."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


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


def _arguments() -> list[str]:
    """Return this command's own options, for its children."""
    context = click.get_current_context().parent
    assert context is not None
    arguments = []
    for option in context.command.params:
        value = context.params[str(option.name)]
        key = config_file.KEYS.get(str(option.name).replace("_", "-"))
        if option.name == "redis" or (key and not key.meant):
            continue  # in the environment, or of no use to them
        if isinstance(value, bool):
            arguments.append((option.opts if value else option.secondary_opts)[0])
        elif value is not None:
            arguments += [option.opts[-1], str(value)]
    return arguments


def _or_fail(act: Any, *arguments: Any) -> Any:
    try:
        return act(*arguments)
    except supervisor.Failed as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
