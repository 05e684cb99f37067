"""Addresses as people write them: `host:port` to listen on, and the URL of a node."""

from urllib.parse import SplitResult, urlsplit


def parse_listen(text: str) -> tuple[str, int]:
    """Split `host:port`, `[v6]:port` or `:port` (all interfaces); ValueError says what is expected."""
    host, colon, digits = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("expected brackets round an IPv6 address, such as [::1]:8400")
    if not colon or not digits.isascii() or not digits.isdecimal():
        raise ValueError("expected host:port, such as 127.0.0.1:8400")
    if int(digits) > 65535:
        raise ValueError("expected a port from 0 to 65535")
    if any(character.isspace() or character in "/@[]" for character in host):
        raise ValueError("expected host:port without a scheme or a path, such as 127.0.0.1:8400")
    return host or "0.0.0.0", int(digits)  # noqa: S104 - `:8400` says so, and config refuses it without keys


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens on `host`."""
    return host in {"localhost", "::1"} or (host.startswith("127.") and host.replace(".", "").isdecimal())


def split_url(url: str) -> SplitResult:
    """Split a node's URL; ValueError says what is expected, and never repeats the URL (it may carry a password)."""
    expected = "expected an address such as http://127.0.0.1:8000/v1"
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"{expected}, without spaces in it")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"{expected} (http or https)")
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected no user name or password in the address: use api_key or headers")
    if not parts.hostname:
        raise ValueError(expected)
    if parts.query or parts.fragment:
        raise ValueError("expected an address without ? and #: it is the base that paths are added to")
    _require_port(parts)
    return parts


def _require_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("expected a port from 1 to 65535")


def tidy_url(url: str, native: bool) -> str:
    """Return the base that a node's paths are added to: with `/v1` for OpenAI, without for a native protocol.

    An address that cannot be split is returned as it is, for the checks to find.
    """
    try:
        parts = split_url(url)
    except ValueError:
        return url
    path = parts.path.rstrip("/")
    if native:
        path = path.removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path or ('' if native else '/v1')}"


def is_ollama_url(url: str) -> bool:
    """Tell whether an address looks like Ollama's native protocol: its port, and no `/v1`."""
    try:
        parts = split_url(url)
    except ValueError:
        return False
    return parts.port == 11434 and not parts.path.rstrip("/").endswith("/v1")


def host_and_port(url: str) -> str:
    """Return the `host:port` of a URL as a name for the node, or "" where there is none."""
    try:
        return split_url(url).netloc
    except ValueError:
        return ""
