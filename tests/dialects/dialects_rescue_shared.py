"""Nodes that answer in either dialect, and a caller that reads what it gets with no code of ours."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dialects_shared import CHAT, DONE, OLLAMA, OPENAI, call, dumps, event, line
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, Operation, make_relay
from fairlead.dialects.contract import Relay
from fairlead.dialects.kept import KeptAnswer

DIALECTS = st.sampled_from([OPENAI, OLLAMA])
OPERATIONS = st.sampled_from([CHAT, Operation.COMPLETION])
PIECES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8)
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def asked(dialect: Dialect, operation: Operation = CHAT, **fields: Any) -> Call:
    if dialect == OPENAI:
        fields = {"stream": True, "stream_options": {"include_usage": True}} | fields
    elif operation is Operation.COMPLETION:
        fields = {"raw": True} | fields
    return call(dialect, operation, **fields)


def relay_of(caller: Call, node: Dialect, name: str) -> Relay:
    return make_relay(caller, node, answer_id=f"fl-{name}", now_s=1_795_223_718.25, model="m")


def node_stream(
    node: Dialect, operation: Operation, name: str, texts: Iterable[str], *, ends: bool = True
) -> list[bytes]:
    """The events of one node's answer; `name` marks whatever differs between nodes."""
    return (_openai if node == OPENAI else _ollama)(operation, name, texts, ends)


def _openai(operation: Operation, name: str, texts: Iterable[str], ends: bool) -> list[bytes]:
    head = {"id": f"chatcmpl-{name}", "created": len(name), "model": f"model-{name}"}

    def chunk(said: dict[str, Any], finish: str | None = None) -> bytes:
        return event(head | {"choices": [{"index": 0, **said, "finish_reason": finish}]})

    if operation is CHAT:
        out = [chunk({"delta": {"role": "assistant", "content": ""}})]
        out += [chunk({"delta": {"content": text}}) for text in texts]
    else:
        out = [chunk({"text": text}) for text in texts]
    last = chunk({"delta": {}} if operation is CHAT else {"text": ""}, "stop")
    return out + ([last, event(head | {"choices": [], "usage": USAGE}), DONE] if ends else [])


def _ollama(operation: Operation, name: str, texts: Iterable[str], ends: bool) -> list[bytes]:
    def said(text: str, **more: Any) -> bytes:
        what = {"message": {"role": "assistant", "content": text}} if operation is CHAT else {"response": text}
        return line(**({"model": f"model-{name}", "done": False} | what | more))

    last = said("", done=True, done_reason="stop", prompt_eval_count=20, eval_count=5)
    return [said(text) for text in texts] + ([last] if ends else [])


def break_off(caller: Call, node: Dialect, texts: Sequence[str], name: str = "first") -> tuple[KeptAnswer, bytes]:
    """The first node's answer, broken after these pieces: what was kept, and what the caller got."""
    kept = KeptAnswer(caller)
    relay = relay_of(caller, node, name)
    out = b""
    for piece in node_stream(node, caller.operation, name, texts, ends=False):
        went = relay.feed(piece)
        kept.add(went)
        out += went
    return kept, out


def cut_up(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The stream as a network might deliver it."""
    out, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        out.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return out


def read(caller: Call, data: bytes) -> tuple[str, dict[str, Any]]:
    """Read a whole answer as a strict client does: its text, and the event that ends it."""
    return _read_events(caller, data) if caller.dialect == OPENAI else _read_lines(caller, data)


def _read_events(caller: Call, data: bytes) -> tuple[str, dict[str, Any]]:
    assert data.endswith(DONE)
    assert data.count(DONE) == 1
    chunks = [json.loads(part.removeprefix(b"data: ")) for part in data[: -len(DONE)].split(b"\n\n") if part]
    assert len({(each["id"], each["created"], each["model"]) for each in chunks}) == 1
    choices = [choice for each in chunks for choice in each["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    if caller.operation is CHAT:
        assert sum("role" in choice["delta"] for choice in choices) == 1
    lasts = [each for each in chunks if each["choices"] and each["choices"][0]["finish_reason"]]
    assert len(lasts) == 1
    assert sum("usage" in each for each in chunks) == 1
    is_chat = caller.operation is CHAT
    text = "".join((choice["delta"].get("content") if is_chat else choice["text"]) or "" for choice in choices)
    return text, lasts[0] | {"usage": chunks[-1]["usage"]}


def _read_lines(caller: Call, data: bytes) -> tuple[str, dict[str, Any]]:
    assert data.endswith(b"\n")
    lines = [json.loads(part) for part in data.split(b"\n") if part]
    assert [each["done"] for each in lines] == [False] * (len(lines) - 1) + [True]
    assert len({each["model"] for each in lines}) == 1
    if caller.operation is CHAT:
        assert {each["message"]["role"] for each in lines} == {"assistant"}
        return "".join(each["message"]["content"] for each in lines), lines[-1]
    return "".join(each["response"] for each in lines), lines[-1]


__all__ = [
    "DIALECTS",
    "OPERATIONS",
    "PIECES",
    "asked",
    "break_off",
    "cut_up",
    "dumps",
    "node_stream",
    "read",
    "relay_of",
]
