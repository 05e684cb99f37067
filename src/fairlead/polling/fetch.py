"""One page of a node, over HTTP: small, quick, or not at all."""

from urllib.parse import urlsplit

from fairlead.config import NodeConfig
from fairlead.httpget import Answer, GetError, get
from fairlead.polling.told import PollError

LIMIT_BYTES = 4 << 20
_MOVED = (307, 308)
_AGAIN = (408, 425, 429)
"""Statuses below 500 that do not mean that the page is not there."""
_NOT_IMPLEMENTED = 501


class NotOfferedError(PollError):
    """The node is there, but not this page, or not for us."""


async def fetch(node: NodeConfig, path: str, timeout_s: float) -> bytes:
    """Return a page below the node's address without `/v1`. Raises PollError, NotOfferedError."""
    root = (node.url or "").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {node.api_key.reveal()}"} if node.api_key else {}
    headers |= {name: value.reveal() for name, value in node.headers.items()}

    async def ask(path: str) -> Answer:
        return await get(
            root + path, headers=headers, timeout_s=timeout_s, limit_bytes=LIMIT_BYTES, verify_tls=node.verify_tls
        )

    try:
        answer = await ask(path)
        if answer.status in _MOVED and _is_slash_more(answer, path):
            answer = await ask(path + "/")
    except GetError as error:
        raise PollError(f"{path}: {error}") from None
    return _body(answer, path)


def _is_slash_more(answer: Answer, path: str) -> bool:
    """Return whether the same page is said to be at the same place with a slash: a habit of mounted applications."""
    return urlsplit(answer.headers.get("location", "")).path.endswith(path + "/")


def _body(answer: Answer, path: str) -> bytes:
    status = answer.status
    if status == _NOT_IMPLEMENTED or (300 <= status < 500 and status not in _AGAIN):
        raise NotOfferedError(f"{path} answers with status {status}")
    if status != 200:
        raise PollError(f"{path} answers with status {status}")
    encoding = answer.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise PollError(f"{path} is encoded as {encoding[:40]}, which nobody asked for")
    return answer.body
