"""Answers that break, finished by a real llama.cpp server: at temperature 0 they read as if nothing had happened."""

import json
import urllib.request
from typing import Any

import pytest

from fairlead.dialects import Call, Dialect, Operation, decode, make_relay, node_request
from fairlead.dialects.answer_text import read_answer
from fairlead.dialects.continued_relay import ContinuedRelay, RescueMode
from fairlead.dialects.continuing import continued
from fairlead.dialects.contract import Relay
from fairlead.dialects.kept import KeptAnswer
from fairlead.domain.rescue import Continuation
from fairlead.local.process import LocalServer

TOKENS = 26
LEAST_SHARE = 0.75
"""Of the cuts where one piece ends and the next begins; a tie between two words may fall the other way."""
OPENAI, OLLAMA = Dialect.OPENAI, Dialect.OLLAMA
PATHS = {
    (OPENAI, Operation.CHAT): "/v1/chat/completions",
    (OPENAI, Operation.COMPLETION): "/v1/completions",
    (OLLAMA, Operation.CHAT): "/api/chat",
}
ASKED = [{"role": "user", "content": "Name three colours and say why you like them."}]


def asked(dialect: Dialect, operation: Operation) -> Call:
    body: dict[str, Any] = {"model": "smollm2", "stream": True}
    body |= {"prompt": "Once upon a time"} if operation is Operation.COMPLETION else {"messages": ASKED}
    limits: dict[str, Any] = {"temperature": 0, "seed": 1}
    if dialect == OLLAMA:
        body["options"] = limits | {"num_predict": TOKENS}
    else:
        body |= limits | {"max_tokens": TOKENS, "stream_options": {"include_usage": True}}
    return decode(dialect, operation, PATHS[dialect, operation], json.dumps(body).encode())


def relay_for(call: Call) -> Relay:
    return make_relay(call, OPENAI, answer_id="fl-1", now_s=1_795_223_718.0, model="smollm2")


def pieces(server: LocalServer, call: Call, relay: Relay) -> list[bytes]:
    """What goes to the caller, event by event; the first may only say whose words follow."""
    request = node_request(call, "smollm2", OPENAI)
    base = server.url.removesuffix("/").removesuffix("/v1") + "/v1"
    sending = urllib.request.Request(base + request.path, request.body, {"content-type": "application/json"})
    with urllib.request.urlopen(sending, timeout=60) as answer:
        out = [relay.feed(line) for line in answer]
    return [piece for piece in [*out, relay.close()] if piece]


def finished_by_another(server: LocalServer, call: Call, said: list[bytes], mode: RescueMode) -> str:
    """Have the beginning of an answer finished, and return what the caller reads altogether."""
    kept = KeptAnswer(call)
    for piece in said:
        kept.add(piece)
    assert kept.why_not is None
    tokens = sum(b'"content":null' not in piece for piece in said)
    again = call
    if mode is RescueMode.CONTINUE:
        again = continued(call, kept.text, Continuation.TRAILING, tokens)
    rest = pieces(server, again, ContinuedRelay(relay_for(call), kept, mode, {}, said_tokens=tokens))
    return read_answer(call, b"".join([*said, *rest])).text


@pytest.mark.parametrize(("dialect", "operation"), PATHS, ids=str)
def test_an_answer_that_is_continued_reads_as_if_it_had_not_been_broken(
    full: LocalServer, dialect: Dialect, operation: Operation
) -> None:
    call = asked(dialect, operation)
    events = pieces(full, call, relay_for(call))
    whole = read_answer(call, b"".join(events)).text
    cuts = range(2, TOKENS, 7)
    same = sum(finished_by_another(full, call, events[:cut], RescueMode.CONTINUE) == whole for cut in cuts)
    assert same >= LEAST_SHARE * len(cuts), f"{same} of {len(cuts)}"


def test_an_answer_that_is_generated_again_is_spliced(full: LocalServer) -> None:
    call = asked(OPENAI, Operation.CHAT)
    events = pieces(full, call, relay_for(call))
    whole = read_answer(call, b"".join(events)).text
    assert finished_by_another(full, call, events[: TOKENS // 2], RescueMode.SPLICE) == whole
