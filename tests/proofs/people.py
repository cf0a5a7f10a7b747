"""What people do every day, and what came of it: the second table of docs/evidence/reliability.md.

``python -m tests.proofs.people`` runs the tests of each case and says whether all of them
have held; ``--write`` puts its table into the page. The exit code is 1 where one failed.
"""

import argparse
import datetime
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import django

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/evidence/reliability.md"
BEGIN, END = "<!-- people: begin -->\n", "<!-- people: end -->"


class Case(NamedTuple):
    """A case, what it has done elsewhere, where that was reported, and the tests of it here."""

    case: str
    elsewhere: str
    threads: str
    tests: dict[str, list[str]]  # file below tests: names


CASES = [
    Case(
        "a session of the database is cut while a handler works, or after its write",
        "the result is not written; the task runs again",
        "commcare-hq #37053, django-celery-results #58",
        {
            "integration/running/test_sessions.py": [
                "test_a_session_cut_in_a_handler_costs_no_second_run",
                "test_a_write_whose_answer_was_lost_is_not_done_twice",
                "test_an_expression_whose_answer_was_lost_counts_once",
                "test_a_failure_whose_answer_was_lost_is_a_failure",
            ]
        },
    ),
    Case(
        "sessions that nobody has used are cut overnight",
        "the first task of each process fails",
        "django-q #76, celery #9239, #10554, procrastinate #1134",
        {
            "integration/running/test_sessions.py": [
                "test_a_claim_on_a_dead_session_is_tried_again",
                "test_a_session_that_was_idle_is_looked_at",
            ]
        },
    ),
    Case(
        "a reset meets a dead session",
        "it fails for ever, and looks well",
        "huey_django_orm #10, django-rq #559",
        {"integration/running/test_sessions.py": ["test_a_reset_survives_a_cut_and_a_lost_answer"]},
    ),
    Case(
        "a deadlock, or a failover to a server that refuses writes",
        "the job is lost, or runs twice",
        "graphile-worker #387, django-huey-monitor #136",
        {
            "integration/running/test_sessions.py": [
                "test_a_read_only_session_is_given_up_for_a_new_one",
                "test_a_lock_that_outlasts_the_patience_of_the_server_costs_no_second_run",
            ]
        },
    ),
    Case(
        "a web request locks rows that wait",
        "workers wait with it",
        "geolens #1950, que #131",
        {
            "integration/running/test_sessions.py": [
                "test_a_claim_does_not_wait_for_a_lock_and_the_row_is_published_again"
            ]
        },
    ),
    Case(
        "a handler leaves a transaction open",
        "later tasks succeed, and nothing of them is committed",
        "tubesync #1511",
        {
            "integration/running/test_sessions.py": [
                "test_what_a_handler_leaves_open_is_rolled_back_and_fails_its_row",
                "test_a_transaction_left_open_on_another_database_is_rolled_back_too",
            ]
        },
    ),
    Case(
        "threads that handlers start use the database",
        "too many clients",
        "posthog #57839, procrastinate #1316",
        {
            "integration/running/test_sessions.py": [
                "test_the_session_of_a_thread_that_has_ended_is_closed"
            ]
        },
    ),
    Case(
        "a handler raises SystemExit, CancelledError or an error without a text",
        "the worker ends, or is deaf; the job stays running",
        "pgqueuer #631, airflow #36809, baserow #1709, paasta #1335, celery #298",
        {
            "integration/running/test_odd_handlers.py": [
                "test_what_a_handler_raises_fails_its_row_once",
                "test_an_error_that_cannot_say_its_text_is_named_by_its_class",
                "test_a_receiver_that_exits_ends_neither_the_run_nor_the_worker",
            ]
        },
    ),
    Case(
        "a handler is a generator",
        "success, and nothing ran",
        "celery #10634",
        {
            "integration/running/test_odd_handlers.py": [
                "test_a_handler_with_a_yield_in_it_has_not_run_and_fails"
            ]
        },
    ),
    Case(
        "the time of an async handler is over",
        "it goes on beside the next tasks",
        "celery #6873, asgiref #491",
        {
            "integration/running/test_odd_handlers.py": [
                "test_an_async_handler_whose_time_is_over_does_not_go_on"
            ]
        },
    ),
    Case(
        "a handler activates a language or a time zone",
        "the next task has it",
        "django-celery #565, cpython #140947",
        {
            "integration/running/test_odd_handlers.py": [
                "test_what_a_run_activates_is_not_the_next_ones"
            ]
        },
    ),
    Case(
        "the project's base task retries by itself",
        "a failure becomes a success",
        "celery #5869",
        {
            "integration/running/test_odd_handlers.py": [
                "test_retries_of_a_projects_base_task_are_not_ours"
            ]
        },
    ),
    Case(
        "web code saves an object that it loaded before the job ended",
        "the job is undone, and runs again",
        "django-celery-beat #1069, awx #11698",
        {
            "integration/rows/test_saves.py": [
                "test_an_object_older_than_its_rows_run_does_not_undo_it",
                "test_a_transition_writes_the_state_and_nothing_else",
                "test_a_deferred_state_is_neither_asked_nor_written",
            ]
        },
    ),
    Case(
        "a handler saves in a block that is rolled back",
        "the value is never stored",
        "django-dirtyfields #148",
        {
            "integration/rows/test_saves.py": [
                "test_what_a_block_has_rolled_back_is_written_at_the_end",
                "test_a_state_whose_save_was_rolled_back_is_written_by_the_next_one",
            ]
        },
    ),
    Case(
        "0 becomes False, or an array NULL",
        "the change is not written, or the comparison fails",
        "django-dirtyfields #242, django-simple-history #1646, django #8989",
        {
            "integration/rows/test_saves.py": [
                "test_a_change_that_python_calls_equal_is_written",
                "test_values_that_cannot_be_compared_count_as_changed",
            ]
        },
    ),
    Case(
        "instances are copied, pickled, or kept from a run",
        "the original hangs; a copy is never run",
        "django #14023, django-model-utils #330",
        {
            "integration/rows/test_saves.py": [
                "test_a_copy_of_a_row_that_is_done_begins_as_a_new_row",
                "test_a_handler_may_copy_its_own_row",
                "test_a_copy_or_a_pickle_has_no_fence",
            ]
        },
    ),
    Case(
        "mixins of seven other packages guard or watch saves",
        "the guard, or the fence, is passed by in silence",
        "django-fsm-2 #132, django-multitenant #262",
        {
            "integration/rows/test_mixins.py": [
                "test_a_row_runs_and_is_saved_as_it_is_without_the_mixin"
            ]
        },
    ),
    Case(
        "the broker refuses one queue",
        "all publishing stops",
        "kombu #824, celery #6509",
        {
            "integration/publishing/test_refused_queues.py": [
                "test_the_rest_of_a_transaction_is_sent",
                "test_others_are_published_at_once_and_it_is_not_asked_again_for_a_while",
                "test_a_reset_gets_behind_it",
                "test_a_name_that_is_too_long_for_the_broker_stops_nobody",
            ]
        },
    ),
    Case(
        "one row cannot be loaded, or its own method raises",
        "nothing of its table is recovered any more",
        "found by our own attack tests",
        {
            "integration/recovery/test_isolation.py": [
                "test_a_row_that_cannot_be_loaded_keeps_no_other_from_its_reset",
                "test_a_row_whose_method_raises_keeps_no_other_from_its_reset",
                "test_a_database_that_fails_keeps_no_other_from_its_reset",
            ]
        },
    ),
    Case(
        "jobs carry megabytes",
        "a bulk reset takes all memory",
        "data-machine #2238",
        {
            "integration/recovery/test_isolation.py": [
                "test_memory_of_a_reset_does_not_grow_with_the_payload"
            ]
        },
    ),
    Case(
        "the broker's name is found slowly, or has dead addresses",
        "the request waits for ten seconds",
        "celery #2417, django-redis #540, django-rq #302",
        {
            "integration/publishing/test_deadline.py": [
                "test_a_slow_resolver",
                "test_a_name_with_many_dead_addresses",
                "test_a_cache_that_knows_no_timeout",
                "test_silent_sentinels_of_the_broker",
            ]
        },
    ),
    Case(
        "the first of two brokers is silent",
        "the second is never tried",
        "kombu #1970",
        {
            "integration/publishing/test_deadline.py": [
                "test_the_second_of_two_brokers",
                "test_a_broker_that_has_fallen_silent_is_noticed",
            ]
        },
    ),
    Case(
        "keys of the broker have a prefix",
        "lengths of queues are 0",
        "flower #1255, kombu #1572",
        {
            "integration/publishing/test_deadline.py": [
                "test_the_length_of_a_queue_is_known_under_a_prefix"
            ]
        },
    ),
    Case(
        "a router reads from a replica",
        "the task looks for its row there",
        "django-q #558, django-ox #51",
        {
            "integration/publishing/test_replicas.py": [
                "test_every_way_to_publish_names_the_primary",
                "test_transitions_and_runs_are_written_at_the_primary",
                "test_resets_leave_the_replica_alone",
            ]
        },
    ),
    Case(
        "a naive eta, USE_TZ off, clocks that change, a test that freezes them",
        "hours too early or too late",
        "celery #8516, django-tasks #178, freezegun #378, django-ox #16, apscheduler #87",
        {
            "integration/rows/test_clock.py": [
                "test_an_eta_is_the_same_moment_however_it_is_given",
                "test_a_lease_without_zone_is_not_over_early_when_the_clocks_change",
                "test_a_frozen_clock_is_the_tests",
            ]
        },
    ),
    Case(
        "somebody has switched autocommit off",
        "what waits for the commit is never called",
        "sentry #106268",
        {
            "integration/rows/test_saves.py": [
                "test_without_autocommit_a_row_is_saved_and_left_to_auto_reset"
            ]
        },
    ),
    Case(
        "a project has two Celery apps, or a schema for each tenant",
        "tasks go to another broker, or look into another schema",
        "OpenTranscribe #485, celery #2609, tenant-schemas-celery #132",
        {
            "unit/test_checks.py": [
                "test_two_celery_apps_with_two_brokers",
                "test_rows_in_the_schemas_of_tenants",
            ]
        },
    ),
    Case(
        "a kept connection of HTTP was closed by its server",
        "an error where a second try would do",
        "dashscope #175, requests #4664",
        {
            "integration/running/test_proxy_redirects.py": [
                "test_a_connection_that_was_closed_is_no_error_of_an_idempotent_request",
                "test_a_request_that_may_do_harm_is_not_sent_twice",
            ]
        },
    ),
    Case(
        "everybody has to log in",
        "webhooks are redirected to the login",
        "django-anymail #443, dj-stripe #2137",
        {
            "integration/doors/test_strangers.py": [
                "test_who_has_to_log_in_everywhere_need_not_for_the_api_and_metrics"
            ]
        },
    ),
    Case(
        "a database, a broker or remote control is silent or off",
        "the probe hangs, or fails for ever",
        "celery #6727, open-webui #19799, redis-py #688",
        {
            "integration/watching/test_health.py": [
                "test_a_database_that_is_silent_holds_up_nobody",
                "test_workers_that_cannot_be_asked_are_not_known_and_no_failure",
                "test_rows_that_resets_ought_to_have_found",
            ]
        },
    ),
]


def run():
    """Run the tests of all cases; return {(file, name): outcomes} and where they ran."""
    wanted = [
        f"tests/{file}::{name}"
        for case in CASES
        for file, names in case.tests.items()
        for name in names
    ]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}"]
        done = subprocess.run([*command, *wanted], cwd=ROOT, capture_output=True, text=True)
        assert report.exists(), done.stdout + done.stderr
        outcomes = defaultdict(list)
        for one in ET.parse(report).iter("testcase"):
            parts = one.get("classname").split(".")[1:]
            name = one.get("name").partition("[")[0]
            outcomes["/".join(parts) + ".py", name].append(_outcome(one))
    return outcomes


def _outcome(testcase):
    kinds = {child.tag for child in testcase}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "held"


def verdict(case, outcomes):
    """Return "held", or what was not; a case of which nothing ran has not held."""
    found = [
        outcome
        for file, names in case.tests.items()
        for name in names
        for outcome in outcomes[file, name] or ["failed"]
    ]
    failed = found.count("failed")
    if failed or "held" not in found:
        return f"FAILED: {failed} of {len(found)}"
    return f"held ({found.count('held')})"


def table(verdicts):
    """Return the table as Markdown."""
    held = sum(one.startswith("held") for one in verdicts)
    versions = f"Python {platform.python_version()}, Django {django.get_version()}"
    lines = [
        f"{datetime.date.today()}, `python -m tests.proofs.people`: {held} of "
        f"{len(CASES)} held. {versions}. In brackets: the number of tests.",
        "",
        "| case | elsewhere | reported in | tests | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case, said in zip(CASES, verdicts, strict=True):
        names = [f"`{name}`" for some in case.tests.values() for name in some]
        cells = [case.case, case.elsewhere, case.threads, ", ".join(names), said]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    write = parser.parse_args().write
    outcomes = run()
    verdicts = [verdict(case, outcomes) for case in CASES]
    text = table(verdicts)
    print(text)
    if write:
        before, rest = PAGE.read_text().split(BEGIN)
        after = rest.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}")
    sys.exit(any(not one.startswith("held") for one in verdicts))


if __name__ == "__main__":
    main()
