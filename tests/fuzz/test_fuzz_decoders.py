"""Whatever bytes come: only errors of the closed list leave the decoders, relays give out whole events or nothing.

What is fed in one piece, byte by byte, or cut anywhere gives the same output, the same counts and the same error.
"""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, Operation, Relay, decode, empty_answer, make_relay, node_request
from fairlead.dialects.answer_text import AnswerReader, asking_logprobs, read_answer, without_logprobs
from fairlead.dialects.contract import ErrorInfo
from fairlead.dialects.errors import error_body, fault_of, read_error
from fairlead.dialects.limits import limited
from fairlead.dialects.passing import decode_passing
from fairlead.dialects.prefix import prefix_blocks
from fairlead.errors import BadRequestError, FairleadError
from fairlead.testing.answers import Asked, stream_events, whole_answer

DOORS = {
    "/v1/chat/completions": (Dialect.OPENAI, Operation.CHAT),
    "/v1/completions": (Dialect.OPENAI, Operation.COMPLETION),
    "/v1/embeddings": (Dialect.OPENAI, Operation.EMBEDDING),
    "/api/chat": (Dialect.OLLAMA, Operation.CHAT),
    "/api/generate": (Dialect.OLLAMA, Operation.COMPLETION),
    "/api/embed": (Dialect.OLLAMA, Operation.EMBEDDING),
    "/api/embeddings": (Dialect.OLLAMA, Operation.EMBEDDING),
}
PASSED = "/v1/responses"
MOST_TOKENS = 2**31
SHORT = settings(max_examples=300, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=20_000)

# -- what is fed

ODD = st.sampled_from(
    [
        "1e999", "-1", "-0.0", "1" * 40, "9223372036854775808", "1.5", "true", "null", '"\\ud83d"', '"\\ud83d\\u0041"',
        '"\\u0000"', '"' + "x" * 5000 + '"', "[" * 3000, "[" * 500 + "]" * 500, '{"a":' * 400 + "1" + "}" * 400, "{}",
        "[]", '""', '"error"', '{"error":"x"}', '[{"index":-1}]', '[null]', '[[]]', '{"function":null}', "NaN", "\x7f",
        '{"type":"json_schema","json_schema":{"schema":5}}', '{"type":5}', '[{"type":"text"}]', '"base64"', '"AAAA"',
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        "model", "name", "messages", "prompt", "input", "stream", "stream_options", "options", "format",
        "tools", "think", "functions", "response_format", "logprobs", "max_tokens", "max_completion_tokens",
        "keep_alive", "images", "raw", "suffix", "system", "encoding_format", "stop", "n", "template",
        "reasoning_effort", "tool_choice", "top_logprobs", "choices", "usage", "timings", "error", "id",
        "created", "data", "embeddings", "embedding", "done", "message", "response", "done_reason",
        "eval_count", "prompt_eval_count", "index", "delta", "content", "role", "tool_calls", "function",
        "arguments", "finish_reason", "reasoning_content", "text", "refusal", "thinking", "prompt_tokens",
        "completion_tokens", "type", "prompt_tokens_details", "cached_tokens", "cache_n", "prompt_n",
        "predicted_n",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(ODD, st.integers().map(str), st.floats().map(str), st.text(max_size=6).map(json.dumps)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(FIELDS, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
        ),
    ),
    max_leaves=10,
)
"""JSON as text, so that it may be broken, and keys may stand twice."""


def with_more(start: bytes) -> st.SearchStrategy[bytes]:
    """An object that begins well, and goes on with anything; fields may stand twice."""
    more = st.lists(st.tuples(FIELDS, VALUES), max_size=3)
    return more.map(lambda pairs: start[:-1] + "".join(f',"{n}":{v}' for n, v in pairs).encode(errors="replace") + b"}")


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes of a good answer are changed, left out, doubled or added."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        piece = draw(st.one_of(st.binary(max_size=3), ODD.map(lambda text: text.encode()[:4000])))
        size = draw(st.integers(0, 12))
        data[at : at + size] = piece
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


GOOD = {
    "/v1/chat/completions": b'{"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true}',
    "/v1/completions": b'{"model":"m","prompt":"hello","stream":true}',
    "/v1/embeddings": b'{"model":"m","input":["one","two"]}',
    "/api/chat": b'{"model":"m","messages":[{"role":"user","content":"hello"}]}',
    "/api/generate": b'{"model":"m","prompt":"hello"}',
    "/api/embed": b'{"model":"m","input":["one","two"]}',
    "/api/embeddings": b'{"model":"m","prompt":"one"}',
    PASSED: b'{"model":"m","input":"hello"}',
}


def understood(path: str, body: bytes) -> Call:
    return decode_passing(path, body) if path == PASSED else decode(*DOORS[path], path, body)


def read_json(data: bytes) -> Any:
    """Read JSON whose letters may be broken: fields that nobody here reads keep their bytes."""
    return json.loads(data.decode(errors="replace"), strict=False)


# -- requests


def use(path: str, body: bytes) -> None:
    """Do with a request all that the program does; only a BadRequestError may come out, and it must be sayable."""
    prefix_blocks(body, 8)
    try:
        call = understood(path, body)
    except BadRequestError as error:
        for dialect in Dialect:
            error_body(dialect, ErrorInfo(400, str(error), param=error.param))
        return
    assert call.model or path == PASSED
    assert call.max_output_tokens is None or call.max_output_tokens >= 0
    if path != PASSED:
        for step in (asking_logprobs, lambda one: limited(one, 5), lambda one: empty_answer(one, now_s=0.0, model="m")):
            with suppress(BadRequestError):
                step(call)
    for node in Dialect:
        for model in ("m", 'n"\u00e9'):
            try:
                read_json(node_request(call, model, node).body)
            except BadRequestError:
                pass
            except ValueError:  # what passes unread may be no JSON where it is a form
                assert path == PASSED


REQUESTS = st.sampled_from(sorted(GOOD)).flatmap(
    lambda path: st.tuples(st.just(path), st.one_of(with_more(GOOD[path]), mutated(GOOD[path]), st.binary(max_size=40)))
)


@SHORT
@given(REQUESTS)
@example((PASSED, b'{"model":"\xff"}'))
@example(("/api/chat", b'{"model":"m","keep_alive":[]}'))
def test_requests(asked: tuple[str, bytes]) -> None:
    use(*asked)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(REQUESTS)
def test_many_requests(asked: tuple[str, bytes]) -> None:
    use(*asked)


# -- answers


def answer_to(path: str, node: Dialect, *, is_streamed: bool) -> bytes:
    """Return what a good node answers."""
    call = understood(path, GOOD[path])
    sent = node_request(call, "m", node)
    place = sent.path if node is Dialect.OLLAMA else f"/v1{sent.path}"
    asked = Asked(place, msgspec.json.decode(sent.body))
    return (
        b"".join(stream_events(asked, "Let us say some words.")) if is_streamed else whole_answer(asked, "Some words.")
    )


def relay_for(path: str, node: Dialect, body: bytes) -> Relay:
    return make_relay(understood(path, body), node, answer_id="a-1", now_s=1.0, model="m")


def finish(relay: Relay, pieces: list[bytes]) -> tuple[bytes, str, Any]:
    """Return what came out, how it ended, and what was counted."""
    out, end = b"", "well"
    try:
        for piece in pieces:
            out += relay.feed(piece)
        out += relay.close()
    except FairleadError as error:
        end = f"{type(error).__name__}: {error}"
        out += b"" if out.endswith(b"\n") or not out else b"<half an event>"
    return out, end, (relay.finished, relay.chunks, relay.usage)


def check_events(path: str, out: bytes) -> None:
    """Check that nothing but whole events of the caller's dialect came out."""
    if DOORS[path][0] is Dialect.OLLAMA:
        assert out == b"" or out.endswith(b"\n")
    else:
        assert out == b"" or out.replace(b"\r\n", b"\n").endswith(b"\n\n"), out[-80:]


def check_usage(relay: Relay) -> None:
    usage = relay.usage
    if usage is not None:
        assert 0 <= usage.input_tokens <= MOST_TOKENS
        assert 0 <= usage.output_tokens <= MOST_TOKENS


STREAMED = ("/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate")
ENDS = {Dialect.OPENAI: b"\n\n", Dialect.OLLAMA: b"\n"}
CHUNK = {
    Dialect.OPENAI: [
        b'{"choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":null}]}',
        b'{"choices":[{"index":0,"text":"x","finish_reason":null}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}',
        b'{"choices":[{"index":0,"delta":{},"text":"","finish_reason":"stop"}]}',
    ],
    Dialect.OLLAMA: [
        b'{"message":{"role":"assistant","content":"x"},"done":false}',
        b'{"response":"x","done":false}',
        b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":false}',
        b'{"message":{"content":""},"response":"","done":true,"done_reason":"stop"}',
    ],
}


def event(node: Dialect) -> st.SearchStrategy[bytes]:
    start = b"data: " if node is Dialect.OPENAI else b""
    odd = [
        b"data: [DONE]\n\n",
        b": still here\n\n",
        b"\r\n\r\n",
        b"\n",
        b"data:\n\n",
        b"error: {}\n\n",
        b"event: x\n\n",
    ]
    chunk = st.sampled_from(CHUNK[node]).flatmap(lambda one: st.one_of(st.just(one), with_more(one), mutated(one)))
    end = st.sampled_from([ENDS[node]] * 6 + [b"\r\n\r\n", b"\r\n", b"\n", b""])
    return st.one_of(
        st.tuples(st.just(start), chunk, end).map(b"".join),
        st.sampled_from(odd if node is Dialect.OPENAI else odd[2:4]),
        st.binary(max_size=12),
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, Dialect, bytes, list[int]]:
    """A stream from a node for a caller's path, good, spoilt or made up, and where it is cut."""
    path, node = draw(st.sampled_from(STREAMED)), draw(st.sampled_from(list(Dialect)))
    real = answer_to(path, node, is_streamed=True)
    made_up = st.lists(event(node), max_size=6).map(b"".join)
    data = draw(st.one_of(mutated(real), made_up, made_up.map(lambda more: real[: len(real) // 2] + more)))
    return path, node, data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def check_stream(path: str, node: Dialect, data: bytes, cuts: list[int]) -> None:
    tools = b'"tools":[{"type":"function","function":{"name":"f"}}]'
    for body in (GOOD[path], GOOD[path][:-1] + b"," + tools + b',"stream_options":{"include_usage":true}}'):
        relays = [relay_for(path, node, body) for _ in range(3)]
        whole, *others = [
            finish(relay, pieces)
            for relay, pieces in zip(
                relays, ([data], pieces_of(data, cuts), [data[at : at + 1] for at in range(len(data))]), strict=True
            )
        ]
        assert others == [whole, whole]
        check_events(path, whole[0])
        check_usage(relays[0])
        read_back(understood(path, body), whole[0])


def read_back(call: Call, out: bytes) -> None:
    """Let those read it who read answers on their way."""
    reader = AnswerReader(call)
    with suppress(FairleadError):  # events that say that the answer goes on pass unread
        reader.feed(out)
        reader.answer()
        reader.feed(without_logprobs(call, out))


@SHORT
@given(streams())
def test_streams(stream: tuple[str, Dialect, bytes, list[int]]) -> None:
    check_stream(*stream)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(streams())
def test_many_streams(stream: tuple[str, Dialect, bytes, list[int]]) -> None:
    check_stream(*stream)


@pytest.mark.parametrize("node", list(Dialect))
@pytest.mark.parametrize("path", STREAMED)
def test_a_good_stream_cut_off_anywhere_is_either_whole_or_an_error(path: str, node: Dialect) -> None:
    data = answer_to(path, node, is_streamed=True)
    whole = finish(relay_for(path, node, GOOD[path]), [data])
    assert whole[1] == "well"
    for at in range(len(data)):
        relay = relay_for(path, node, GOOD[path])
        out, end, _ = finish(relay, [data[:at]])
        check_events(path, out)
        assert (end == "well") is relay.finished, data[:at]
        if end == "well":
            said = read_answer(understood(path, GOOD[path]), out).text
            assert said == "Let us say some words."


COUNTED = b'{"choices":[{"message":{}}],"usage":{"prompt_tokens":%b,"completion_tokens":%b}}'


@st.composite
def wholes(draw: st.DrawFn) -> tuple[str, Dialect, bytes, bytes]:
    """A whole answer of a node, good, spoilt or made up, and the request that it answers."""
    path, node = draw(st.sampled_from(sorted(DOORS))), draw(st.sampled_from(list(Dialect)))
    asked = GOOD[path].replace(b',"stream":true', b"")[:-1] + b',"stream":false}'
    if path == "/v1/embeddings":
        asked = draw(st.one_of(st.just(asked), with_more(asked), st.just(asked[:-1] + b',"encoding_format":"base64"}')))
    real = answer_to(path, node, is_streamed=False)
    made_up = st.sampled_from([b'{"choices":[]}', b'{"data":[]}', b'{"done":true}', b'{"embeddings":[[1]]}', real])
    return path, node, asked, draw(st.one_of(mutated(real), made_up.flatmap(with_more), st.binary(max_size=30)))


def check_whole(path: str, node: Dialect, asked: bytes, data: bytes) -> None:
    try:
        relay = relay_for(path, node, asked)
    except BadRequestError:
        return
    try:
        out = relay.whole(data)
    except FairleadError:
        return
    assert relay.finished
    assert isinstance(read_json(out), dict)
    check_usage(relay)
    call = understood(path, asked)
    if call.operation is not Operation.EMBEDDING:
        read_answer(call, out)
        read_json(without_logprobs(call, out))


@SHORT
@given(wholes())
@example(
    ("/v1/embeddings", Dialect.OLLAMA, b'{"model":"m","input":"x","encoding_format":5}', b'{"embeddings":[[1.0]]}')
)
@example(("/api/chat", Dialect.OPENAI, GOOD["/api/chat"], COUNTED % (b"-1", b"1")))
@example(("/api/chat", Dialect.OPENAI, GOOD["/api/chat"], COUNTED % (b"1", b"1" * 40)))
@example(("/api/chat", Dialect.OLLAMA, GOOD["/api/chat"], b'{"done":true,"eval_count":-5,"prompt_eval_count":1}'))
def test_whole_answers(answer: tuple[str, Dialect, bytes, bytes]) -> None:
    check_whole(*answer)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(wholes())
def test_many_whole_answers(answer: tuple[str, Dialect, bytes, bytes]) -> None:
    check_whole(*answer)


@SHORT
@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=60),
        VALUES.map(lambda v: v.encode(errors="replace")),
        with_more(b'{"error":{"message":"x"}}'),
    ),
)
def test_errors_of_nodes(status: int, body: bytes) -> None:
    info = read_error(status, body)
    fault_of(status, info)
    for dialect in Dialect:
        assert json.loads(error_body(dialect, info))["error"]
