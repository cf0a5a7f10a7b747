"""Which addresses are public, and which hosts a policy allows."""

import pytest

from simpletask2_celery.running.proxy import fetching
from simpletask2_celery.running.proxy import policy as proxy_policy

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"


pytestmark = pytest.mark.usefixtures("no_kept_connections")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",  # the metadata of Alibaba's cloud
        "168.63.129.16",  # Azure's
        "169.254.169.254",  # most others'
        "169.254.170.2",
        "192.0.0.192",  # Oracle's
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
        "2606:4700::1111%eth0",
    ],
)
def test_an_address_that_is_not_public(address):
    assert not proxy_policy.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", PUBLIC, "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111"),
        "2606:4700:64::7f00:1",  # of a network that maps to IPv4 there: nobody can know
    ],
)
def test_an_address_that_is_public(address):
    assert proxy_policy.is_public(address)


def test_an_ipv6_host_is_allowed_as_django_writes_it():
    policy = proxy_policy.Policy(hosts=("[::1]",))
    policy.require("http", "::1")
    with pytest.raises(proxy_policy.Refused):
        policy.require("http", "::2")


def test_the_policy_is_off_by_default():
    assert proxy_policy.current() == proxy_policy.Policy()
    session = fetching._sessions[proxy_policy.current()]
    adapter = session.get_adapter("https://site.example")
    pool = adapter.poolmanager.connection_from_url("https://site.example")
    assert type(pool).__module__ == "urllib3.connectionpool"
    assert session.trust_env is True
