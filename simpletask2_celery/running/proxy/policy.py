"""What proxy requests may reach: schemes, hosts, and public addresses only.

Every hop of a redirect is asked for its scheme and host. Addresses are looked at where
the connection is made: the name is resolved once, and what was looked at is what is
connected to, so that an answer of the DNS that changes (DNS rebinding) gains nothing.
"""

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from django.http.request import validate_host
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from ...conf import PREFIX, conf

#: Of an IPv6 address that stands for an IPv4 one, the last 32 bits.
_NAT64 = ip_network("64:ff9b::/96")
_PUBLIC_IPV6 = ip_network("2000::/3")
#: What ``is_global`` has for public, in one version of Python or in all.
_NOT_PUBLIC = (
    ip_network("168.63.129.16/32"),  # the metadata of virtual machines on Azure
    ip_network("192.0.0.0/24"),  # of the protocols; the metadata of Oracle's cloud
    ip_network("192.88.99.0/24"),  # relays of 6to4, given up by RFC 7526
    ip_network("224.0.0.0/4"),  # multicast
    ip_network("2001::/23"),  # of the protocols; Teredo, which holds an IPv4 address
    ip_network("2002::/16"),  # 6to4, which holds an IPv4 address
    ip_network("3fff::/20"),  # of documentation, RFC 9637
)


class Refused(Exception):
    """A request that is not made, or an answer not taken; its text holds no secret."""


class Policy(NamedTuple):
    """The three settings of the policy; empty, anything goes."""

    schemes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    refuse_private: bool = False

    @property
    def needs_direct(self) -> bool:
        """Whether a proxy server between us and the host would get around it."""
        return bool(self.hosts) or self.refuse_private

    def require(self, scheme: str, host: str) -> None:
        """Raise Refused unless the scheme and the host are allowed."""
        if self.schemes and scheme not in self.schemes:
            raise Refused(f"{PREFIX}PROXY_ALLOWED_SCHEMES has no {scheme!r}")
        name = f"[{host}]" if ":" in host else host.rstrip(".").lower()
        if self.hosts and not validate_host(name, self.hosts):
            raise Refused(f"{PREFIX}PROXY_ALLOWED_HOSTS has no {name!r}")

    def require_direct(self, request: dict[str, Any]) -> None:
        """Raise Refused where a request names a proxy server that it must not use."""
        if self.needs_direct and request.get("proxies"):
            raise Refused(
                f"proxies would hide the host from {PREFIX}PROXY_ALLOWED_HOSTS "
                "and _REFUSE_PRIVATE; leave the keyword out"
            )


def current() -> Policy:
    """Return the policy of the settings."""
    return Policy(
        tuple(conf.proxy_allowed_schemes),
        tuple(conf.proxy_allowed_hosts),
        conf.proxy_refuse_private,
    )


def session(policy: Policy, connections: int) -> requests.Session:
    """Return a session that obeys the policy and keeps that many connections a host."""
    made = _Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(policy, connections))
    if policy.needs_direct:
        # No proxy server and no .netrc of the environment; but its certificates.
        made.trust_env = False
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        made.verify = bundle or True
    return made


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public internet.

    Neither private, loopback, link-local, shared, reserved, multicast nor metadata of a
    cloud; of an address that stands for an IPv4 one (mapped, NAT64), that one counts.
    """
    if "%" in text:  # a zone: local to one network
        return False
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address in _NAT64 or address.ipv4_mapped:
            return is_public(str(IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _PUBLIC_IPV6:
            return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def _public_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not all(is_public(address) for address in addresses):
        raise Refused(f"{PREFIX}PROXY_REFUSE_PRIVATE: {host!r} is no public address")
    return addresses


class _Connection(HTTPConnection):
    """A connection to one of the addresses that were looked at; TLS checks the name."""

    def _new_conn(self) -> socket.socket:
        try:
            addresses = _public_addresses(self._dns_host, self.port)
            return self._first_of(addresses)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error

    def _first_of(self, addresses: list[str]) -> socket.socket:
        for address in addresses[:-1]:
            try:
                return self._connected(address)
            except OSError:  # the next may answer
                continue
        return self._connected(addresses[-1])

    def _connected(self, address: str) -> socket.socket:
        return create_connection(
            (address, self.port),
            self.timeout,
            source_address=self.source_address,
            socket_options=self.socket_options,
        )


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Session(requests.Session):
    """Reads no body of a redirect, however large, and keeps cookies to their origin."""

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Any:
        """Follow redirects; where a handler wants them itself, requests has no part in it.

        It would read the whole body of the answer, to say where the next one would go.
        """
        if kwargs.get("yield_requests"):
            return iter(())
        return super().resolve_redirects(*args, **kwargs)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a redirect leads, and close its answer unread."""
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()
            resp._content, resp._content_consumed = b"", True  # type: ignore[attr-defined]
        return target

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Take along to another origin neither a password nor a cookie."""
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        before, after = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Cookie", None)
            prepared_request._cookies.clear()  # type: ignore[attr-defined]


class _Adapter(HTTPAdapter):
    """Asks the policy about the pool that a hop is about to use."""

    def __init__(self, policy: Policy, connections: int) -> None:
        self._policy = policy
        super().__init__(pool_maxsize=connections)
        if policy.refuse_private:
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        pool = super().get_connection_with_tls_context(request, *args, **kwargs)
        # The pool may be a proxy server's, to which the scheme says nothing.
        self._policy.require(urlsplit(request.url or "").scheme.lower(), pool.host)
        return pool
