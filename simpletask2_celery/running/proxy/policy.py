"""What proxy requests may reach: schemes, hosts, and public addresses only.

The scheme and the host of every redirect are checked. Addresses are checked where the
connection is made: the name is resolved once, and the connection goes to an address that
was checked, so that a DNS answer that changes (DNS rebinding) gains nothing.

Only ``current`` reads the settings: a process without Django gets its policy from elsewhere.
"""

import os
import socket
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import inf
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

_SETTING = "DJANGO_SIMPLETASK2_PROXY"
#: IPv6 addresses that stand for an IPv4 one, which is their last 32 bits.
_NAT64 = ip_network("64:ff9b::/96")
_PUBLIC_IPV6 = ip_network("2000::/3")
#: Networks that ``is_global`` takes for public, in one version of Python or in all.
_NOT_PUBLIC = (
    ip_network("168.63.129.16/32"),  # the metadata of virtual machines on Azure
    ip_network("192.0.0.0/24"),  # for protocols of the IETF; the metadata of Oracle's cloud
    ip_network("192.88.99.0/24"),  # relays of 6to4, deprecated by RFC 7526
    ip_network("224.0.0.0/4"),  # multicast
    ip_network("2001::/23"),  # for protocols of the IETF; Teredo, which embeds an IPv4 address
    ip_network("2002::/16"),  # 6to4, which embeds an IPv4 address
    ip_network("3fff::/20"),  # for documentation, RFC 9637
)


class Refused(Exception):
    """A request that is not made, or an answer that is not taken; its text holds no secret."""


class Policy(NamedTuple):
    """What a request may reach, in seconds how long it may take, in bytes what it may bring.

    Without schemes any scheme is allowed, without hosts any host. ``setting`` is how the names
    of its settings begin. What is allowed has to be allowed by ``also``, too, if there is one.
    """

    schemes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    refuse_private: bool = False
    timeout: float = 30.0
    max_size: int = 10 * 1024 * 1024
    setting: str = _SETTING
    also: "Policy | None" = None

    def tightened(self, also: "Policy") -> "Policy":
        """Return this policy, which ``also`` makes narrower and never wider."""
        return self._replace(
            refuse_private=self.refuse_private or also.refuse_private,
            timeout=min(self.timeout, also.timeout),
            max_size=min(self.max_size, also.max_size),
            also=also,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what a message carries of this policy."""
        names = ("schemes", "hosts", "refuse_private", "timeout", "max_size")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of_json(cls, value: Any) -> "Policy":
        """Return the policy that a message carries. Raises Refused for what is none."""
        kinds: dict[str, Any] = {
            **{"schemes": list, "hosts": list, "refuse_private": bool},
            **{"timeout": (int, float), "max_size": int},
        }
        is_policy = isinstance(value, dict) and value.keys() == kinds.keys()
        if not is_policy or not all(isinstance(value[name], kinds[name]) for name in kinds):
            raise Refused("its message has no policy that this version knows")
        names = [*value["schemes"], *value["hosts"]]
        if not all(isinstance(name, str) for name in names):
            raise Refused("its message has no policy that this version knows")
        schemes, hosts = tuple(value["schemes"]), tuple(value["hosts"])
        return cls(**{**value, "schemes": schemes, "hosts": hosts})

    @property
    def longest(self) -> float:
        """The seconds that a request of its own ``timeout`` may ask for."""
        return self.also.timeout if self.also else inf

    @property
    def needs_direct(self) -> bool:
        """Whether a proxy server between us and the host would get around the policy."""
        hosts = self.hosts or (self.also and self.also.hosts)
        return bool(hosts) or self.refuse_private

    def require(self, scheme: str, host: str) -> None:
        """Raise Refused unless the scheme and the host are allowed."""
        if self.schemes and scheme not in self.schemes:
            raise Refused(f"{self.setting}_ALLOWED_SCHEMES has no {scheme!r}")
        name = f"[{host}]" if ":" in host else host.rstrip(".").lower()
        # Matched as in Django's ALLOWED_HOSTS.
        patterns = {pattern.lower() for pattern in self.hosts}
        domains = tuple(pattern for pattern in patterns if pattern.startswith("."))
        if patterns and not (patterns & {"*", name} or f".{name}".endswith(domains)):
            raise Refused(f"{self.setting}_ALLOWED_HOSTS has no {name!r}")
        if self.also:
            self.also.require(scheme, host)


def current() -> Policy:
    """Return the policy of the settings."""
    from ...conf import conf  # of Django, which a process that is given a policy lacks

    return Policy(
        tuple(conf.proxy_allowed_schemes),
        tuple(conf.proxy_allowed_hosts),
        conf.proxy_refuse_private,
        conf.proxy_timeout,
        conf.proxy_max_size,
    )


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public internet.

    It is not, if it is private, loopback, link-local, shared, reserved, multicast or the
    metadata of a cloud. An address that stands for an IPv4 one (mapped, NAT64) is what that is.
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


def require_public(host: str, *addresses: str) -> None:
    """Raise Refused unless all addresses of the host are public."""
    if not all(map(is_public, addresses)):
        raise Refused(f"{_SETTING}_REFUSE_PRIVATE: {host!r} is no public address")


class _Connection(HTTPConnection):
    """A connection to one of the addresses that were checked; TLS checks the name."""

    def _new_conn(self) -> socket.socket:
        try:
            return self._connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error

    def _connect(self) -> socket.socket:
        name, family = self._dns_host.strip("[]"), allowed_gai_family()
        entries = socket.getaddrinfo(name, self.port, family, socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in entries]
        require_public(self._dns_host, *addresses)
        options = self.timeout, self.source_address, self.socket_options
        failure = OSError("no address")
        for address in addresses:
            try:
                return create_connection((address, self.port), *options)
            except OSError as error:  # the next may answer
                failure = error
        raise failure


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class Session(requests.Session):
    """Obeys the policy, keeps connections but no cookies, and reads no body of a redirect."""

    def __init__(self, policy: Policy, make_adapter: Callable[[Policy], HTTPAdapter]) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, make_adapter(policy))
        if policy.needs_direct:
            # No proxy server and no .netrc of the environment; but its certificates.
            self.trust_env = False
            bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
            self.verify = bundle or True

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Any:
        """Follow redirects; but read no body only to say where one would lead."""
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
        """Take neither a password nor a cookie along to another origin."""
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        before, after = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Cookie", None)
            prepared_request._cookies.clear()  # type: ignore[attr-defined]


class Adapter(HTTPAdapter):
    """Checks the host of each request, redirects included, before it is connected to."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        super().__init__(pool_maxsize=256)  # connections to a host
        if policy.refuse_private:
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the connections to the host of a request, or raise Refused."""
        pool = super().get_connection_with_tls_context(request, *args, **kwargs)
        # The pool may be a proxy server's, whose scheme is not the request's.
        self.policy.require(urlsplit(request.url or "").scheme.lower(), pool.host)
        return pool
