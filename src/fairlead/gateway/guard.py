"""Who may ask what: host names, origins, keys, and what a key allows."""

import hashlib
import hmac
from collections.abc import Collection, Sequence

import msgspec

from fairlead.dialects.contract import ErrorInfo
from fairlead.domain.priority import FIRST_LEVEL, NORMAL
from fairlead.gateway.http import Request
from fairlead.orchestrator.limits import KeyLimits


class Key(msgspec.Struct, frozen=True):
    """A caller's key, kept as its hash only."""

    name: str
    sha256: bytes
    """Of the key's text, 32 bytes."""
    is_admin: bool = False
    tenant: str | None = None
    max_cost_usd: float | None = None
    priority: int = NORMAL
    """Of requests that name none."""
    max_priority: int = FIRST_LEVEL
    """The most urgent that a request may name."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who is asking. The tenant is the key's, never a header's."""

    name: str
    tenant: str | None
    is_admin: bool
    max_cost_usd: float | None = None
    priority: int = NORMAL
    max_priority: int = FIRST_LEVEL
    limits: KeyLimits | None = None


LOCAL_ADMIN = Caller("local", None, is_admin=True)
PREFLIGHT = Caller("preflight", None, is_admin=False)
"""A browser asking whether an allowed page may ask; it sends no key with that."""


class Guard:
    """Lets requests pass or says why not.

    Loopback is no boundary against a browser: a page anywhere can send requests to this machine. So the `Host` must be
    a name that the gateway listens on (against DNS rebinding), and an `Origin`, which only browsers send, must be one
    that was allowed.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        hosts: Collection[str],
        origins: Collection[str],
        *,
        any_host: bool = False,
        is_private: bool = True,
        before: "Guard | None" = None,
    ) -> None:
        """`is_private` says that only this machine can connect: then callers without keys may administer.

        Keys that the guard `before` had as well go on with what counts against their limits.
        """
        self._anonymous = Caller("anonymous", None, is_admin=is_private)
        self._keys = tuple(keys)
        self._hosts = frozenset(host.lower().encode() for host in hosts)
        self._origins = frozenset(origin.lower().encode() for origin in origins)
        self._any_host = any_host
        self._callers = {key.sha256: _caller(key) for key in keys}
        if before is not None:
            self._callers |= {key.sha256: known for key in keys if (known := before.known(key)) is not None}

    def known(self, key: Key) -> Caller | None:
        """Return who has a key, where it means just this here."""
        return self._callers[key.sha256] if key in self._keys else None

    def admit(self, request: Request) -> Caller | ErrorInfo:
        """Return who is asking, or the error that refuses them."""
        if request.is_local_admin:
            return LOCAL_ADMIN
        headers = request.headers
        host = headers.get(b"host", b"")
        if host not in self._hosts and not self._any_host and host.lower() not in self._hosts:
            name = host.decode("latin-1")
            message = f"this gateway does not go by the name {name!r}; add it to allow_hosts if it should"
            return ErrorInfo(421, message, "invalid_request_error", "unknown_host")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in self._origins and b"*" not in self._origins:
            message = f"pages from {origin.decode('latin-1')!r} may not use this gateway; see allow_origins"
            return ErrorInfo(403, message, "invalid_request_error", "foreign_origin")
        if not self._keys:
            return self._anonymous
        if origin is not None and request.method == "OPTIONS":
            return PREFLIGHT
        return self._caller(headers)

    def _caller(self, headers: dict[bytes, bytes]) -> Caller | ErrorInfo:
        text = headers.get(b"authorization")
        if text is not None and text[:7].lower() == b"bearer ":
            token = text[7:].strip()
        else:
            token = headers.get(b"x-api-key", b"")
        if not token:
            message = "an API key is needed: send it as 'Authorization: Bearer KEY'"
            return ErrorInfo(401, message, "authentication_error", "missing_api_key")
        digest = hashlib.sha256(token).digest()
        found: Caller | None = None
        for key in self._keys:  # all of them, so that the time tells nothing about which one is near
            if hmac.compare_digest(key.sha256, digest):
                found = self._callers[key.sha256]
        if found is None:
            return ErrorInfo(401, "this API key is not known here", "authentication_error", "invalid_api_key")
        return found


def _caller(key: Key) -> Caller:
    limits = None
    if key.requests_per_minute is not None or key.tokens_per_minute is not None:
        limits = KeyLimits(key.requests_per_minute, key.tokens_per_minute)
    tenant = key.tenant or key.name
    priority = max(key.priority, key.max_priority)
    return Caller(key.name, tenant, key.is_admin, key.max_cost_usd, priority, key.max_priority, limits)
