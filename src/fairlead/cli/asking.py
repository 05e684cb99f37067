"""One question to a running gateway, over its address or its local socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fairlead.errors import FairleadError

_LIMIT_S = 10.0
_LIMIT_BYTES = 16 << 20


class NoGatewayError(FairleadError):
    """Nobody answers there."""


class _LocalConnection(http.client.HTTPConnection):
    """Speaks HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_LIMIT_S)
        self.sock.connect(str(self._path))


def ask_decision(
    decision_id: str, *, url: str, unix_socket: Path | None = None, key: str | None = None, full: bool = False
) -> dict[str, Any]:
    """Return the record of a decision; `full` asks for all of it, however long.

    Raises NoGatewayError where nobody answers, and FairleadError, saying what to change, where the gateway has no such
    decision, or none for this key.
    """
    path = f"/v1/decisions/{quote(decision_id, safe='')}" + ("?full=true" if full else "")
    return ask(path, "decision", url=url, unix_socket=unix_socket, key=key)


def ask(
    path: str,
    part: str,
    *,
    url: str,
    unix_socket: Path | None = None,
    key: str | None = None,
    body: bytes | None = None,
) -> dict[str, Any]:
    """Return what a gateway answers to GET `path`, or to POST where there is a body.

    That the answer has the part named so tells that it is a gateway's.

    Raises NoGatewayError where nobody answers, and FairleadError, saying what to change, for any other answer.
    """
    where = f"the socket {unix_socket}" if unix_socket else url
    connection = _LocalConnection(unix_socket) if unix_socket else _connection(url)
    try:
        if body is None:
            connection.request("GET", path, headers=_headers(key))
        else:
            connection.request("POST", path, body, {"content-type": "application/json", **_headers(key)})
        answer = connection.getresponse()
        data = answer.read(_LIMIT_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoGatewayError(f"no gateway answers at {where} ({_reason(error)})") from None
    finally:
        connection.close()
    said = _read(data)
    if answer.status == 200 and isinstance(said, dict) and part in said:
        return said
    raise _complaint(answer.status, said, where, has_key=key is not None)


def _connection(url: str) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        raise FairleadError(f"{url!r} is no address of a gateway; write it like http://127.0.0.1:8400")
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_LIMIT_S)
    return http.client.HTTPConnection(host, port, timeout=_LIMIT_S)


def _headers(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise FairleadError("the key holds a character that no key has; copy it anew")
    return {"authorization": f"Bearer {key}"}


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_LIMIT_S:g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return (text or type(error).__name__).lower()


def _read(body: bytes) -> object:
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    return said


def _complaint(status: int, said: object, where: str, *, has_key: bool) -> FairleadError:
    """Return what is wrong with an answer that is not the one that was asked for."""
    message = _field(said, "message")
    if status == 401:
        what = "does not know this key" if has_key else "needs a key"
        return FairleadError(f"the gateway at {where} {what}: say it with --key, or in FAIRLEAD_KEY")
    if status == 403 and _field(said, "code") == "admin_only":
        advice = "say an admin's key with --key or in FAIRLEAD_KEY, or ask over its local socket with --socket"
        return FairleadError(f"the gateway at {where} shows this to admins only: {advice}")
    if message is None or status == 200:
        return FairleadError(f"what answers at {where} is no fairlead gateway; say where it is with --url or --socket")
    return FairleadError(f"{where}: {message}")


def _field(said: object, name: str) -> str | None:
    error = said.get("error") if isinstance(said, dict) else None
    value = error.get(name) if isinstance(error, dict) else None
    return value if isinstance(value, str) else None
