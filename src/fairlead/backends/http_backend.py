"""A node that speaks HTTP: any OpenAI-compatible server, or a native Ollama."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from fairlead.backends.contract import Sink
from fairlead.backends.http_connection import Job
from fairlead.backends.http_pool import HttpPool, PoolLimits
from fairlead.dialects.contract import Dialect, NodeRequest
from fairlead.errors import ConfigError
from fairlead.httpget import tls_context


class HttpBackend:
    """Sends requests below a base address. A redirect is an error, never followed: keys stay with their node."""

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify_tls: bool = True,
        limits: PoolLimits | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"a node's url begins with http:// or https:// and names a host; {url!r} does not")
        self.dialect = dialect
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        self._pool = HttpPool(parts.hostname, port, tls_context(verify_tls) if is_tls else None, limits)
        self._base = parts.path.rstrip("/")
        lines = {"host": parts.netloc.rpartition("@")[2], "accept": "*/*", "accept-encoding": "identity"}
        if api_key is not None:
            lines["authorization"] = f"Bearer {api_key}"
        lines |= {name.lower(): value for name, value in (headers or {}).items()}
        self._lines = "".join(f"{name}: {_one_line(name, value)}\r\n" for name, value in lines.items()).encode(
            "latin-1"
        )
        self._heads: dict[str, bytes] = {}

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> Job:
        """Begin a request."""
        body = request.body
        head = self._heads.get(request.path) or self._head(request.path)
        job = Job(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, extra_head, len(body), body), sink)
        self._pool.send(job)
        return job

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def _head(self, path: str) -> bytes:
        if not path.isascii() or any(letter <= " " for letter in path):
            raise ConfigError(f"a path on a node has no spaces or control letters; {path!r} has")
        head = f"POST {self._base}{path} HTTP/1.1\r\n".encode() + self._lines
        if len(self._heads) < 64:
            self._heads[path] = head
        return head


def _one_line(name: str, value: str) -> str:
    if "\r" in value or "\n" in value or "\0" in value:
        raise ConfigError(f"the header {name!r} of a node must be a single line")
    return value
