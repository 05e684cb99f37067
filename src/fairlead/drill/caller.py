"""A caller of the gateway who believes nothing: reads the bytes of one answer, and notes when they came."""

import asyncio
import json
from typing import Any

import msgspec

from fairlead.clock import monotonic_s


class Seen(msgspec.Struct):
    """What a caller saw of one answer."""

    status: int = 0
    """0: no answer at all."""
    text: str = ""
    is_whole: bool = False
    """Whether the connection kept its promise: all bytes came that the head told of."""
    is_done: bool = False
    """Whether the answer bears the mark of a complete one."""
    error: str = ""
    """What an error in OpenAI's form says; empty where there is none."""
    body: bytes = b""
    attempts: int = 0
    """Attempts that the gateway tells of in its head."""
    first_s: float | None = None
    """Until the first words."""
    total_s: float = 0.0


async def call(port: int, model: str, prompt: str, limit_s: float, *, stream: bool) -> Seen:
    """Ask a gateway on this machine once, and wait no longer than the limit for the end."""
    seen = Seen()
    began_s = monotonic_s()
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
            try:
                writer.write(head.encode() + body)
                await _read(reader, seen, began_s)
            finally:
                writer.transport.abort()
    except (TimeoutError, asyncio.IncompleteReadError, OSError, ValueError):
        seen.is_whole = False  # what it means is told by what came until then
    seen.total_s = monotonic_s() - began_s
    _understand(seen, stream=stream)
    return seen


async def _read(reader: asyncio.StreamReader, seen: Seen, began_s: float) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    seen.status = int(lines[0].split(" ")[1])
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    seen.attempts = int(headers.get("x-fairlead-attempts", "0"))
    if "content-length" in headers:
        seen.body = await reader.readexactly(int(headers["content-length"]))
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            seen.body += (await reader.readexactly(size + 2))[:-2]
            if seen.first_s is None and b'"content":"' in seen.body.replace(b'"content":""', b""):
                seen.first_s = monotonic_s() - began_s
    seen.is_whole = True


def _understand(seen: Seen, *, stream: bool) -> None:
    """Read the answer as a client would."""
    if stream and seen.status == 200:
        events = [line[6:] for line in seen.body.split(b"\n") if line.startswith(b"data: ")]
        seen.is_done = bool(events) and events[-1] == b"[DONE]"
        parts = [_parsed(event) for event in events if event != b"[DONE]"]
    else:
        parts = [_parsed(seen.body)]
    for part in parts:
        error = part.get("error")
        if isinstance(error, dict):
            seen.error = str(error.get("message", ""))
        for choice in part.get("choices") or ():
            said = choice.get("delta") or choice.get("message") or {}
            seen.text += said.get("content") or ""
            seen.is_done = seen.is_done or (not stream and seen.status == 200)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
