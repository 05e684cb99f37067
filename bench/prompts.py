"""Chat requests of about 1 KB, all different: what developers ask, put together from parts."""

import json
import random
from collections.abc import Iterator

_ASKS = (
    "Debug the crash in the {part}: it happens {when}.",
    "Write unit tests for the {part}, above all for what happens {when}.",
    "Refactor the {part} so that each function does one thing.",
    "Review this change to the {part} and tell me what breaks {when}.",
    "Document the {part} for somebody who joins the team next week.",
    "Implement a {part} that stays correct {when}.",
    "Explain why the {part} becomes slow {when}.",
    "Port the {part} to the new interface without changing what callers see.",
)
_PARTS = (
    "parser", "connection pool", "retry loop", "tokeniser", "cache", "scheduler", "login form", "rate limiter",
    "migration script", "websocket client", "query planner", "file watcher", "billing job", "search index",
    "command line", "config loader", "image uploader", "event bus", "test runner", "payment webhook",
)  # fmt: skip
_WHENS = (
    "when two requests arrive at once", "after the connection is lost", "on an empty list", "with a very long line",
    "under load", "when the clock is set back", "on the first of the month", "when the disk is full",
    "with unicode names", "after a restart", "when the server answers late", "with a negative number",
)  # fmt: skip
_FACTS = (
    "The stack trace ends in `{part}.py`, line {n}.",
    "We run Python 3.11 with {n} workers on Linux.",
    "The last release worked, the one of {n} days ago does not.",
    "```python\ndef handle_{n}(item):\n    return registry[item.key].run(item, retries={n})\n```",
    "Users see error {n} {when}.",
    "The log shows {n} warnings from the {part} {when}.",
    "Keep the public names as they are, and say which of the {n} callers must change.",
    "I have tried to raise the limit to {n}, which did not help.",
)
_HALF_CHARS = 430
_POOL = 1024


def _fill(template: str, draw: random.Random) -> str:
    return template.format(part=draw.choice(_PARTS), when=draw.choice(_WHENS), n=draw.randrange(10, 1000))


def _half(first: str, draw: random.Random) -> bytes:
    text = first
    while len(text) < _HALF_CHARS:
        text += " " + _fill(draw.choice(_FACTS), draw)
    # Escaped as inside a JSON string and cut to one length, so that Content-Length never changes.
    cut = json.dumps(text)[1:-1][:_HALF_CHARS]
    return (cut[:-1] + " " if cut.endswith("\\") else cut).encode()


class Requests:
    """Endless whole HTTP requests, no two with the same prompt; one costs less than a microsecond to make."""

    def __init__(self, host: str, model: str, *, is_stream: bool, seed: int, key: str) -> None:
        draw = random.Random(seed)
        system = "You are a careful senior engineer. Answer briefly."
        before = f'{{"model":"{model}","messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"'
        after = '"}],"temperature":0.2,"max_tokens":256'
        if is_stream:
            after += ',"stream":true,"stream_options":{"include_usage":true}'
        after += "}"
        number = f" Ticket {seed % 1000:03d}-"
        size = len(before) + _HALF_CHARS + len(number) + 8 + 1 + _HALF_CHARS + len(after)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\naccept: */*\r\nuser-agent: bench/1\r\ncontent-length: {size}\r\n\r\n"
        )
        self._firsts = [
            (head + before).encode() + _half(_fill(draw.choice(_ASKS), draw), draw) + number.encode()
            for _ in range(_POOL)
        ]
        self._seconds = [b" " + _half(_fill(draw.choice(_FACTS), draw), draw) + after.encode() for _ in range(_POOL)]

    def __iter__(self) -> Iterator[bytes]:
        firsts, seconds, n = self._firsts, self._seconds, 0
        while True:
            n += 1
            yield b"%b%08d%b" % (firsts[n % _POOL], n, seconds[n // _POOL * 7 + n * 5 & _POOL - 1])


def prompts(count: int, seed: int) -> list[str]:
    """Return `count` different prompts of about 0.9 KB."""
    requests = iter(Requests("stub", "stub", is_stream=False, seed=seed, key="none"))
    bodies = (next(requests).partition(b"\r\n\r\n")[2] for _ in range(count))
    return [json.loads(body)["messages"][1]["content"] for body in bodies]
