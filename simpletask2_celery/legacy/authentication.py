"""The key of the HTTP API (compatibility facts, sections 5, 6 and 8)."""

from typing import Any

from django.utils.crypto import constant_time_compare

from .. import exceptions
from ..conf import conf


def require_aclkey(payload: dict[str, Any]) -> None:
    """Take the key out of a request's payload, so that nobody else sees it.

    Raises DjangoSimpleTask2Error 2910002 where there is none, 2910003 where it is
    not the project's.
    """
    given = payload.pop("aclkey", None)
    if not given:
        raise exceptions.error(exceptions.ACLKEY_MISSING)
    if not isinstance(given, str) or not _same(given, conf.aclkey):
        raise exceptions.error(exceptions.ACLKEY_WRONG)


def _same(given: str, key: str) -> bool:
    # As bytes: a lone surrogate, which JSON can carry, has no encoding.
    return constant_time_compare(given.encode(errors="surrogatepass"), key.encode())
