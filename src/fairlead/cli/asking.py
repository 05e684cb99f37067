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
    where = f"the socket {unix_socket}" if unix_socket else url
    connection = _LocalConnection(unix_socket) if unix_socket else _connection(url)
    path = f"/v1/decisions/{quote(decision_id, safe='')}" + ("?full=true" if full else "")
    try:
        connection.request("GET", path, headers=_headers(key))
        answer = connection.getresponse()
        body = answer.read(_LIMIT_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoGatewayError(f"no gateway answers at {where} ({_reason(error)})") from None
    finally:
        connection.close()
    return _understood(answer.status, body, where, has_key=key is not None)


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


def _understood(status: int, body: bytes, where: str, *, has_key: bool) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if status == 200 and isinstance(said, dict) and "decision" in said:
        return said
    message = _message(said)
    if status == 401:
        what = "does not know this key" if has_key else "needs a key"
        raise FairleadError(f"the gateway at {where} {what}: say it with --key, or in FAIRLEAD_KEY")
    if message is None or status == 200:
        raise FairleadError(f"what answers at {where} is no fairlead gateway; say where it is with --url or --socket")
    raise FairleadError(f"{where}: {message}")


def _message(said: object) -> str | None:
    error = said.get("error") if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
