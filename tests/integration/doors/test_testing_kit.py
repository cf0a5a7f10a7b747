"""The testing kit: in a user's project under unittest and pytest, and its edges here."""

import base64
import socket
import threading
from contextlib import suppress

import pytest
import requests
import urllib3
from celery import current_app
from django.db import IntegrityError, transaction
from django.utils import timezone
from kombu.connection import Connection

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running.proxy import fetching, policy
from simpletask2_celery.testing import Answer, Unanswered, answering, published, run
from tests.support.fixtures import ALIASES, queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import (
    AsyncJob,
    ChannelJob,
    ChildJob,
    Job,
    Ledger,
    PairJob,
    Steps,
    UuidJob,
)

# -- run -----------------------------------------------------------------------------


IN_TEST = pytest.mark.django_db(databases=ALIASES)  # in a transaction of the test's own
alias = pytest.mark.parametrize("alias", ALIASES)


@pytest.fixture
def handle(monkeypatch):
    """Let Job's handler do what a test says."""
    return lambda act: monkeypatch.setattr(handlers, "nothing", act)


@IN_TEST
@alias
@pytest.mark.parametrize("make", [Job, AsyncJob, ChildJob, UuidJob, PairJob])
def test_a_row_of_any_kind_runs_in_the_transaction_of_a_test(alias, make):
    given = {"tenant": 1, "number": 2} if make is PairJob else {}
    row = make.objects.using(alias).create(**given)
    done = run(row)
    assert done.row is row and done.error is None and done.requests == []
    assert (row.status, row.success) == (row.DONE, True)
    if make is PairJob:
        assert done.data == [1, 2]


@IN_TEST
@alias
def test_a_database_error_of_a_handler_fails_its_row_and_not_the_test(alias, handle):
    def collide(row, payload):
        Ledger.objects.using(alias).create(pk=1, job="again")

    Ledger.objects.using(alias).create(pk=1, job="first")
    row = Job.objects.using(alias).create()
    handle(collide)
    with pytest.raises(IntegrityError):
        run(row)
    assert (row.status, row.success) == (row.DONE, False)
    assert Ledger.objects.using(alias).get().job == "first"


@IN_TEST
@alias
def test_a_broken_transaction_is_not_taken_for_a_success(alias, handle):
    """As Django has it: what goes on after a database error asks for an atomic()."""

    def swallow(row, payload):
        with suppress(IntegrityError):
            Ledger.objects.using(alias).create(pk=1, job="again")

    Ledger.objects.using(alias).create(pk=1, job="first")
    row = Job.objects.using(alias).create()
    handle(swallow)
    with pytest.raises(transaction.TransactionManagementError):
        run(row)
    assert (row.status, row.success) == (row.DONE, False)


@IN_TEST
@alias
def test_what_a_failing_handler_wrote_stays_as_in_a_worker(alias, handle):
    def write_and_fail(row, payload):
        Ledger.objects.using(alias).create(job="written")
        raise LookupError("afterwards")

    handle(write_and_fail)
    with pytest.raises(LookupError):
        run(Job.objects.using(alias).create())
    assert Ledger.objects.using(alias).get().job == "written"


@pytest.mark.django_db
def test_a_row_that_cannot_run_says_so(handle):
    row = Job.objects.create()
    run(row)
    with pytest.raises(DjangoSimpleTask2Error, match="already done") as raised:
        run(row)
    assert raised.value.code == 2910015
    assert run(row, throw=False).error.code == 2910015
    with pytest.raises(ValueError, match="save it before"):
        run(Job())
    with pytest.raises(TypeError, match="SimpleTask"):
        run(Ledger())


@IN_TEST
@alias
@pytest.mark.parametrize("make", [Job, ChildJob])
def test_a_row_that_its_handler_deletes(alias, make, handle):
    handle(lambda row, payload: make.objects.using(alias).all().delete())
    row = make.objects.using(alias).create()
    done = run(row, throw=False)
    assert done.error.code == 2910010 and row.pk
    assert not Job.objects.using(alias).exists()


@IN_TEST
@alias
def test_a_claim_that_is_lost_does_not_break_the_transaction_of_a_test(alias):
    row = Job.objects.using(alias).create()
    row.start()
    Job.objects.using(alias).get().reset()
    assert row.done() is False
    assert Job.objects.using(alias).get().status == Job.READY


# -- answers -------------------------------------------------------------------------


@pytest.fixture
def page(db, monkeypatch):
    """A row whose first step asks for its URL, and a network that must not be used."""

    def touched(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(policy, "create_connection", touched)
    monkeypatch.setattr(urllib3.util.connection, "create_connection", touched)
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        assert host in ("127.0.0.1", "10.0.0.1", "localhost"), host
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(Steps, "final_step", 2)
    seen = []

    def handler(row, payload):
        seen.append(payload)
        if payload["step"] == 1:
            return {"proxy": {"method": "GET", "auth": ("user", "s3cret"), "url": row.url}}

    monkeypatch.setattr(handlers, "nothing", handler)

    def ask(url, answers):
        done = run(Steps.objects.create(url=url), proxy=answers)
        content = seen[-1]["proxied_content"]
        body = None if content is None else base64.b64decode(content)
        return seen[-1], body, done.requests

    return ask


URL = "https://site.example/page"


@pytest.mark.parametrize(
    ("answer", "body", "kind"),
    [
        ("ä", "ä".encode(), "text/plain; charset=utf-8"),
        (b"\0", b"\0", None),
        ({"a": [1]}, b'{"a": [1]}', "application/json"),
        (Answer([1]), b"[1]", "application/json"),
        (Answer("<p>", 404, {"content-type": "text/html"}), b"<p>", "text/html"),
        (Answer(), b"", None),
    ],
)
def test_the_next_step_gets_status_headers_and_body(page, answer, body, kind):
    payload, content, [request] = page(URL, [answer])
    assert content == body
    headers = {name.lower(): text for name, text in payload["proxied_headers"].items()}
    assert headers.get("content-type") == kind
    assert payload["proxied_status"] == getattr(answer, "status", 200)
    assert request.headers["Authorization"].startswith("Basic ")


def test_a_url_with_a_query_answers_that_query_and_one_without_answers_any(page):
    answers = {f"{URL}?a=1&b=2": "one", URL: "any", "HTTPS://site.example": "root"}
    assert page(f"{URL}?b=2&a=1", answers)[1] == b"one"
    assert page(f"{URL}?b=3", answers)[1] == b"any"
    assert page("https://site.example/", answers)[1] == b"root"


def test_errors_become_proxied_error(page):
    refused = ConnectionRefusedError(111, "refused")
    for error in (requests.ReadTimeout("s3cret"), requests.ReadTimeout, refused):
        for answers in ([error], {URL: error}, lambda request, e=error: e):
            payload, content, _ = page(URL, answers)
            name = "ConnectionRefused" if error is refused else "ReadTimeout"
            assert content is None and name in payload["proxied_error"]
            assert "s3cret" not in payload["proxied_error"]

    def raising(request):
        raise requests.ConnectTimeout

    assert "ConnectTimeout" in page(URL, raising)[0]["proxied_error"]


def test_the_policy_of_the_settings_holds_redirects_included(page, settings):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["site.example", "10.0.0.1"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES = ["https"]
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True
    assert page(URL, ["fine"])[1] == b"fine"
    away = Answer(status=302, headers={"Location": "https://evil.example/"})
    for url, answers, text in [
        ("https://evil.example/", ["x"], "ALLOWED_HOSTS"),
        (URL, [away, "x"], "ALLOWED_HOSTS"),
        ("http://site.example/", ["x"], "ALLOWED_SCHEMES"),
        ("https://10.0.0.1/", ["x"], "REFUSE_PRIVATE"),
    ]:
        payload, content, _ = page(url, answers)
        assert content is None and text in payload["proxied_error"]
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = []
    assert "REFUSE_PRIVATE" in page("https://localhost/", ["x"])[0]["proxied_error"]
    settings.DJANGO_SIMPLETASK2_PROXY_MAX_SIZE = 3
    assert "over 3 bytes" in page(URL, ["four"])[0]["proxied_error"]


OTHER = f"{URL}/other"
SHOWN = rf"GET {URL}\?key=\*\*\*.*answers for: {OTHER}\?token=\*\*\*"


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (None, "No answers are given"),
        ({f"{OTHER}?token=t": "x"}, SHOWN),
        ([], "list of answers has 0"),
        (lambda request: None, "returned None"),
    ],
)
def test_a_request_that_nobody_answers_ends_the_run_and_the_test(page, answers, text):
    with pytest.raises(Unanswered, match=text) as raised:
        page(f"{URL}?key=s3cret", answers)
    assert "s3cret" not in str(raised.value)
    assert Steps.objects.get().status == Steps.DOING  # as where a process ended


def test_what_is_wrong_with_an_answering_function_reaches_the_test(page):
    def asserting(request):
        assert request.method == "POST", "as the test says"

    with pytest.raises(AssertionError, match="as the test says"):
        page(URL, asserting)
    with pytest.raises(TypeError, match="not 404"):
        page(URL, lambda request: 404)


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        ({"name": "Ada"}, ValueError, "'name' is no URL"),
        ({URL: 404}, TypeError, "not 404"),
        ([None], TypeError, "not None"),
        ([{"a": {1}}], TypeError, "what JSON has"),
        ([ValueError], TypeError, "OSError"),
        ("text", TypeError, "a dict, a list or a function"),
    ],
)
def test_answers_that_are_none_are_refused_before_the_run(page, answers, error, text):
    with pytest.raises(error, match=text):
        page(URL, answers)
    assert Steps.objects.get().status == Steps.READY


def test_a_status_that_is_none():
    with pytest.raises(TypeError, match="status"):
        Answer(status="200")


def test_run_without_answers_takes_those_around_it(page):
    with answering({URL: "around"}) as came:
        assert page(URL, None)[1] == b"around"
        assert page(URL, {URL: "inside"})[1] == b"inside"
    assert [request.url for request in came] == [URL]


@pytest.mark.usefixtures("no_kept_connections")
def test_sessions_of_answers_and_real_ones_are_not_mixed(site):
    """In no thread, and whatever was asked for before."""
    url, contents = f"http://127.0.0.1:{site.server_port}/", []

    def ask():
        answer = fetching.fetch("jobs.steps:1", {"method": "GET", "url": url})
        contents.append(base64.b64decode(answer["proxied_content"]))

    ask()
    kept = dict(fetching._sessions)
    with answering({url: "an answer"}) as came:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        with answering([b"another"]):
            ask()
        ask()
    assert fetching._sessions == kept
    ask()
    assert contents == [b"hello", b"an answer", b"another", b"an answer", b"hello"]
    assert (len(came), len(site.seen), site.connections) == (2, 2, 1)


# -- published -----------------------------------------------------------------------


@IN_TEST
@alias
def test_a_test_s_own_transaction_counts_as_committed(alias):
    before = Job.objects.using(alias).create()
    with published() as sent:
        row = Job.objects.using(alias).create()
        [message] = sent.assert_published(row)
        assert (message.model, message.ids, message.using) == (Job, (row.pk,), alias)
        sent.assert_not_published(before)
        with transaction.atomic(using=alias):
            inner = Job.objects.using(alias).create()
            with pytest.raises(AssertionError, match="waits? for the commit"):
                sent.assert_published(inner)
        sent.assert_published(inner)
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
            Job.objects.using(alias).create(pk=row.pk + 10)
            1 / 0  # noqa: B018
    assert len(sent.messages) == 2
    Job.objects.using(alias).create()
    assert len(sent.messages) == 2  # of the time inside
    assert queued() == []


def test_commits_publish(using):
    with published() as sent, transaction.atomic(using=using):
        row = Job.objects.using(using).create()
        sent.assert_not_published()
    sent.assert_published(row)
    assert queued() == []
    Job.objects.using(using).create()
    assert len(queued()) == 1  # as ever


def test_a_capture_of_hooks_and_published_do_not_publish_twice(
    db, django_capture_on_commit_callbacks
):
    with published() as sent, django_capture_on_commit_callbacks(execute=True):
        Job.objects.create()
    assert len(sent.messages) == 1
    with django_capture_on_commit_callbacks(execute=True), published() as sent:
        Job.objects.create()
    assert len(sent.messages) == 1
    assert queued() == []


def test_inside_another_both_catch(db):
    with published() as outer:
        with published() as inner:
            row = Job.objects.create()
        late = Job.objects.create()
    inner.assert_published(row)
    inner.assert_not_published(late)
    assert [message.ids for message in outer.messages] == [(row.pk,), (late.pk,)]


def test_options_and_queues_are_as_celery_would_have_them(db):
    default = current_app.conf.task_default_queue
    mail, plain = ChannelJob.objects.create(topic="mail"), UuidJob.objects.create()
    eta = timezone.now()
    with published() as sent:
        mail.publish(priority=3)
        plain.publish(eta=eta)
        plain.publish(countdown=5, queue="other")
    [first] = sent.assert_published(mail, priority=3)
    assert (first.channel, first.queue) == ("mail", f"{default}.mail")
    [second] = sent.assert_published(plain, eta=eta, queue=default)
    assert second.ids == (plain.pk,) and second.countdown is None
    sent.assert_published(plain, queue="other", countdown=5)
    with pytest.raises(AssertionError) as raised:
        sent.assert_published(plain, countdown=6)
    said = str(raised.value)
    assert f"jobs.uuidjob:{plain.pk} was not published, countdown=6." in said
    assert f"jobs.channeljob:{mail.pk} (queue='{default}.mail', priority=3)" in said
    for rows in ([mail], []):
        with pytest.raises(AssertionError, match="jobs.channeljob"):
            sent.assert_not_published(*rows)


def test_chunks_and_the_redis_lists(db, settings):
    PairJob.objects.bulk_create([PairJob(tenant=1, number=n) for n in range(3)])
    with published() as sent:
        PairJob.publish_many(PairJob.objects.all(), chunk=2)
    assert [m.ids for m in sent.messages] == [((1, 0), (1, 1)), ((1, 2),)]
    sent.assert_published(PairJob.objects.get(number=2))
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    with published() as sent:
        row = Job.objects.create()
    [message] = sent.assert_published(row)
    assert message.queue is None
    with published() as sent:
        pass
    with pytest.raises(AssertionError, match="Published: nothing"):
        sent.assert_published(row)


def test_the_fixtures(db, simpletask2_run, simpletask2_published):
    row = Job.objects.create()
    assert simpletask2_run(row).row.success
    simpletask2_published.assert_published(row)


# -- eager mode ----------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch):
    """Set eager mode, in which nobody asks a broker."""

    def asked(*args, **kwargs):
        raise AssertionError("the broker was asked")

    monkeypatch.setattr(Connection, "connect", asked)
    monkeypatch.setattr(Connection, "_ensure_connection", asked)
    configure = current_app.conf.update
    configure(task_always_eager=True)
    yield configure
    configure(task_always_eager=False, task_eager_propagates=False)
    monkeypatch.undo()


def test_an_eager_row_runs_at_the_commit(using, eager):
    with transaction.atomic(using=using):
        row = Job.objects.using(using).create()
        assert Job.objects.using(using).get().status == Job.READY
    row.refresh_from_db()
    assert row.success
    Job.objects.using(using).bulk_create([Job(), Job(what="fail"), Job()])
    Job.publish_many(Job.objects.using(using).all(), chunk=2)
    assert not Job.objects.using(using).exclude(status=Job.DONE).exists()


def test_eager_errors_propagate_where_asked_and_the_other_rows_run(using, eager):
    objects = Job.objects.using(using)
    eager(task_eager_propagates=True)
    with pytest.raises(DjangoSimpleTask2Error) as raised, transaction.atomic(using=using):
        for what in ("fail", "nothing", "fail", "nothing"):
            objects.create(what=what)
    assert raised.value.code == 2910009
    assert isinstance(raised.value.__cause__, ValueError)
    ended = list(objects.order_by("pk").values_list("success", flat=True))
    assert ended == [False, True, False, True]


@IN_TEST
@alias
def test_an_eager_database_error_does_not_break_the_transaction_of_a_test(
    alias, eager, handle, django_capture_on_commit_callbacks
):
    Ledger.objects.using(alias).create(pk=1, job="first")
    handle(lambda row, payload: Ledger.objects.using(alias).create(pk=1, job="again"))
    with django_capture_on_commit_callbacks(using=alias, execute=True):
        row = Job.objects.using(alias).create()
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)


def test_a_row_that_is_caught_does_not_run_in_eager_mode(db, eager):
    with published() as sent:
        row = Job.objects.create()
    sent.assert_published(row)
    row.refresh_from_db()
    assert row.status == row.READY


def test_an_eager_request_that_nobody_answers_reaches_the_test(using, eager, handle):
    handle(handlers.always_proxied)
    with pytest.raises(Unanswered), answering([]):
        Steps.objects.using(using).create(url=URL)
