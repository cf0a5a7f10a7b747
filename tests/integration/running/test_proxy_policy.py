"""What a proxy request may reach: schemes, hosts, and only public addresses."""

import base64

import pytest

from simpletask2_celery.running import executor
from simpletask2_celery.running.proxy import fetching, policy
from tests.support.project.jobs.models import Steps
from tests.support.sites import CERTIFICATE, Network, serving

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"
pytestmark = pytest.mark.usefixtures("no_kept_connections")


@pytest.fixture
def network(monkeypatch):
    return Network(monkeypatch)


@pytest.fixture
def private_refused(settings):
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True


def get(url, **more):
    return fetching.fetch("jobs.steps:1", {"method": "GET", "url": url, **more})


def reached(answer):
    return answer["proxied_error"] is None and (
        base64.decodebytes(answer["proxied_content"].encode()) == b"hello"
    )


# -- addresses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "user:password@127.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
    ],
)
def test_this_machine_is_not_connected_to_however_it_is_spelled(site, private_refused, host):
    url = f"http://{host}:{site.server_port}/"
    for _ in range(2):
        assert get(url)["proxied_error"]
    assert site.connections == 0


def test_the_refusal_says_which_setting_and_not_which_address(site, private_refused):
    error = get(f"http://localhost:{site.server_port}/page")["proxied_error"]
    assert "DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE" in error
    assert "'localhost' is no public address" in error
    assert "127.0.0.1" not in error and "::1" not in error


def test_a_name_that_is_rebound_gains_nothing(site, network, private_refused):
    """Asked twice, the name would be this machine; it is asked once."""
    network.names["rebound.example"] = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    url = f"http://rebound.example:{site.server_port}/"
    assert reached(get(url))
    assert (network.asked, network.reached) == (["rebound.example"], [PUBLIC])
    for session in fetching._sessions.values():
        session.close()  # the next request connects anew, and the name is rebound
    assert "no public address" in get(url)["proxied_error"]
    assert network.reached == [PUBLIC] and site.connections == 1


def test_a_name_with_a_private_address_among_others_is_refused(site, network, private_refused):
    network.names["mixed.example"] = [PUBLIC, "10.0.0.1"]
    answer = get(f"http://mixed.example:{site.server_port}/")
    assert "no public address" in answer["proxied_error"]
    assert network.reached == []


def test_the_next_address_of_a_name_is_tried(site, network, private_refused):
    network.names["two.example"] = ["2606:4700::1111", PUBLIC]
    network.dead.add("2606:4700::1111")
    assert reached(get(f"http://two.example:{site.server_port}/"))
    assert network.reached == ["2606:4700::1111", PUBLIC]
    network.dead.add(OTHER)
    network.names["dead.example"] = [OTHER]
    error = get(f"http://dead.example:{site.server_port}/")["proxied_error"]
    assert "ConnectionError: Connection refused" in error


def test_a_name_that_is_not_found(private_refused):
    error = get("http://nothing.invalid/")["proxied_error"]
    assert "ConnectionError: the name cannot be resolved" in error


def test_an_address_that_does_not_answer_in_time(network, monkeypatch, private_refused):
    network.names["slow.example"] = [PUBLIC]

    def slow(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(policy, "create_connection", slow)
    assert "failed: ConnectTimeout" in get("http://slow.example/")["proxied_error"]


@pytest.mark.parametrize(
    "to",
    ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "//2130706433:{port}/"],
)
def test_a_redirect_to_a_private_address_is_not_followed(site, network, private_refused, to):
    network.names["site.example"] = [PUBLIC]
    to = to.format(port=site.server_port)
    answer = get(f"http://site.example:{site.server_port}/?to={to}")
    assert "no public address" in answer["proxied_error"]
    assert network.reached == [PUBLIC]
    assert [path for path, _ in site.seen] == [f"/?to={to}"]


def test_tls_is_checked_against_the_name_and_not_the_address(network, private_refused):
    network.names = {"site.example": [PUBLIC], "other.example": [PUBLIC]}
    with serving(tls=True) as site:
        port = site.server_port
        assert reached(get(f"https://site.example:{port}/", verify=CERTIFICATE))
        answer = get(f"https://other.example:{port}/", verify=CERTIFICATE)
        assert "Hostname mismatch" in answer["proxied_error"]
        answer = get(f"https://site.example:{port}/")
        assert "self-signed certificate" in answer["proxied_error"]
    assert network.reached == [PUBLIC] * 3


# -- hosts and schemes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "host", "goes"),
    [
        (["site.example"], "site.example", True),
        (["SITE.example"], "Site.Example.", True),
        (["site.example"], "sub.site.example", False),
        (["site.example"], "site.example.evil.example", False),
        (["site.example"], "evil.example", False),
        (["site.example"], "site.example@evil.example", False),
        (["site.example"], "evil.example#@site.example", False),
        (["site.example"], "evil.example\\@site.example", False),
        ([".example.org"], "api.example.org", True),
        ([".example.org"], "example.org", True),
        ([".example.org"], "notexample.org", False),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "2130706433", False),
        (["[::1]"], "[::2]", False),
        (["*"], "evil.example", True),
    ],
)
def test_allowed_hosts(site, network, settings, allowed, host, goes):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = allowed
    for name in ("site.example", "api.example.org", "example.org", "evil.example"):
        network.names[name] = network.names[name + "."] = ["127.0.0.1"]
    answer = get(f"http://{host}:{site.server_port}/")
    assert reached(answer) is goes, answer["proxied_error"]
    assert site.connections == int(goes)


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(site, network, settings):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["127.0.0.1"]
    port = site.server_port
    assert reached(get(f"http://127.0.0.1:{port}/?to=/here"))
    answer = get(f"http://127.0.0.1:{port}/?to=http://localhost:{port}/there")
    assert "PROXY_ALLOWED_HOSTS has no 'localhost'" in answer["proxied_error"]
    assert "/there" not in [path for path, _ in site.seen]


def test_allowed_schemes_redirects_included(site, network, settings):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES = ["https"]
    plain = f"http://127.0.0.1:{site.server_port}/"
    assert "PROXY_ALLOWED_SCHEMES has no 'http'" in get(plain)["proxied_error"]
    network.names["site.example"] = ["127.0.0.1"]
    with serving(tls=True) as tls:
        url = f"HTTPS://site.example:{tls.server_port}/"
        assert reached(get(url, verify=CERTIFICATE))
        answer = get(f"{url}?to={plain}", verify=CERTIFICATE)
        assert "PROXY_ALLOWED_SCHEMES has no 'http'" in answer["proxied_error"]
    assert site.connections == 0


@pytest.mark.parametrize(
    ("allowed", "goes"),
    [("xn--bcher-kva.example", True), (".xn--bcher-kva.example", True), ("bücher.example", False)],
)
def test_a_name_that_is_not_ascii_is_allowed_as_the_dns_writes_it(
    site, network, settings, allowed, goes
):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = [allowed]
    network.names["xn--bcher-kva.example"] = ["127.0.0.1"]
    answer = get(f"http://bücher.example:{site.server_port}/")
    assert reached(answer) is goes, answer["proxied_error"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REFUSE_PRIVATE", True),
        ("ALLOWED_SCHEMES", ["https"]),
        ("ALLOWED_HOSTS", ["site.example"]),
    ],
)
def test_the_next_step_is_told_which_setting_has_refused(using, site, settings, name, value):
    setattr(settings, f"DJANGO_SIMPLETASK2_PROXY_{name}", value)
    url = f"http://127.0.0.1:{site.server_port}/"
    row = Steps.objects.using(using).create(what="proxied_dict", url=url)
    executor.run(Steps, using, row.pk)
    row.refresh_from_db()
    assert row.success and site.connections == 0
    assert f"2:task {row.get_task_info()} proxy request" in row.note
    assert f"DJANGO_SIMPLETASK2_PROXY_{name}" in row.note.partition(";3:")[0]


# -- what would get around it ------------------------------------------------------------

DIRECT = [("REFUSE_PRIVATE", True), ("ALLOWED_HOSTS", ["site.example"])]


@pytest.mark.parametrize(("name", "value"), DIRECT)
def test_no_proxy_server_stands_between(site, network, settings, monkeypatch, name, value):
    setattr(settings, f"DJANGO_SIMPLETASK2_PROXY_{name}", value)
    network.names["site.example"] = [PUBLIC if name == "REFUSE_PRIVATE" else "127.0.0.1"]
    url = f"http://site.example:{site.server_port}/"
    with serving() as server:
        proxies = {"http": f"http://user:secret@127.0.0.1:{server.server_port}"}
        answer = get(url, proxies=proxies)
        assert "leave the keyword out" in answer["proxied_error"]
        assert "secret" not in answer["proxied_error"]
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxies["http"])
        assert reached(get(url))
        assert reached(get(f"{url}?to=/again"))
        assert server.connections == 0
    assert not any("Proxy-Authorization" in headers for _, headers in site.seen)


@pytest.mark.parametrize(("name", "value"), [*DIRECT, ("ALLOWED_SCHEMES", ["http"])])
def test_a_netrc_counts_where_a_proxy_server_would(
    site, network, settings, monkeypatch, tmp_path, name, value
):
    (tmp_path / "netrc").write_text("machine site.example login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    setattr(settings, f"DJANGO_SIMPLETASK2_PROXY_{name}", value)
    network.names["site.example"] = [PUBLIC if name == "REFUSE_PRIVATE" else "127.0.0.1"]
    assert reached(get(f"http://site.example:{site.server_port}/"))
    [(_, headers)] = site.seen
    assert ("Authorization" in headers) is (name == "ALLOWED_SCHEMES")


def test_without_a_policy_the_environment_counts_as_before(site, monkeypatch):
    with serving() as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert reached(get("http://site.example/"))
        assert server.seen[0][0] == "http://site.example/"


def test_the_certificates_of_the_environment_count_with_a_policy(
    network, private_refused, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", CERTIFICATE)
    network.names["site.example"] = [PUBLIC]
    with serving(tls=True) as site:
        assert reached(get(f"https://site.example:{site.server_port}/"))


def test_a_kept_connection_does_not_outlive_a_change_of_policy(site, settings):
    url = f"http://127.0.0.1:{site.server_port}/"
    assert reached(get(url)) and reached(get(url))
    assert site.connections == 1
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True
    assert "no public address" in get(url)["proxied_error"]
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = False
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS = ["site.example"]
    assert "has no '127.0.0.1'" in get(url)["proxied_error"]
    assert len(site.seen) == 2
