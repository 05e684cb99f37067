"""One small HTTP GET: whole answer or nothing, bounded in time and size, for asking servers what they are.

Not for tasks: those go through the pooling client of the backends.
"""

import asyncio
import os
import ssl
from functools import cache
from urllib.parse import urlsplit

import httptools
import msgspec

_READ_BYTES = 65536


class GetError(Exception):
    """No usable answer; the message says why in a few words."""


class RefusedError(GetError):
    """Nothing listens there."""


class Answer(msgspec.Struct):
    """A whole answer."""

    status: int = 0
    headers: dict[str, str] = {}
    """Names in lower case."""
    body: bytes = b""

    def json(self) -> object:
        """Return the decoded body; raises `GetError` when it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GetError("its answer is not JSON") from error


class _Reader:
    """The callbacks of httptools; `complete` turns true with the last byte of the answer."""

    def __init__(self, limit_bytes: int) -> None:
        self.answer = Answer(headers={})
        self.complete = False
        self._limit_bytes = limit_bytes
        self._size = 0
        self._parts: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, data: bytes) -> None:
        """Take what arrived; raises `GetError` beyond the limit and for what is no HTTP."""
        self._size += len(data)
        if self._size > self._limit_bytes:
            raise GetError(f"its answer is larger than {self._limit_bytes >> 10} KiB")
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise GetError("its answer is not HTTP") from error

    def end(self) -> Answer:
        """Return the answer; raises `GetError` when the connection was closed before its end."""
        until_close = not {"content-length", "transfer-encoding"} & self.answer.headers.keys()
        status = self.parser.get_status_code()
        if not self.complete and not (until_close and status):
            raise GetError("it closed the connection before its answer was complete")
        self.answer.status = status
        self.answer.body = b"".join(self._parts)
        return self.answer


async def get(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float,
    limit_bytes: int,
    verify_tls: bool = True,
) -> Answer:
    """Fetch one address (POST where there is a body), whatever the status, following no redirect; raises `GetError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise GetError(f"{url!r} is no http address")
    try:
        async with asyncio.timeout(timeout_s):
            secure = tls_context(verify_tls) if parts.scheme == "https" else None
            port = parts.port or (443 if secure else 80)
            return await _exchange(parts.hostname, port, secure, _request(url, headers or {}, body), limit_bytes)
    except TimeoutError as error:
        raise GetError(f"it did not answer within {timeout_s:g} s") from error
    except ConnectionRefusedError as error:
        raise RefusedError("nothing listens there") from error
    except (OSError, ssl.SSLError) as error:
        raise GetError(f"the connection failed ({error.strerror or type(error).__name__})") from error


def _request(url: str, headers: dict[str, str], body: bytes | None) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
    lines += ["Accept: application/json", "Connection: close", "User-Agent: fairlead"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(not line.isprintable() for line in lines):
        raise GetError("the address or a header holds a character that HTTP cannot carry")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def tls_context(verify: bool) -> ssl.SSLContext:
    """Return how a server's certificate is checked, or that it is not. Reading the trusted roots takes 50 ms: once."""
    return _tls_context(verify, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _tls_context(verify: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _exchange(host: str, port: int, secure: ssl.SSLContext | None, request: bytes, limit_bytes: int) -> Answer:
    reader, writer = await asyncio.open_connection(host, port, ssl=secure)
    try:
        writer.write(request)
        await writer.drain()
        answer = _Reader(limit_bytes)
        while not answer.complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                break
            answer.feed(data)
        return answer.end()
    finally:
        writer.transport.abort()  # an orderly TLS end could wait for a server that says nothing more
