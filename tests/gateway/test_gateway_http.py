"""HTTP as nobody should send it, over raw sockets: limits, smuggling, pipelining, old versions, slow senders, fuzz."""

import asyncio
import json
import logging
from typing import Any

import pytest
from gateway_shared import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    O_CHAT,
    O_EMBED,
    O_GENERATE,
    ask,
    caller,
    chat,
    gateway,
    is_at_rest,
    new_event_loop,
    node,
    raw,
    run,
    until,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.config import Limits
from fairlead.gateway import RunningGateway, server
from fairlead.testing.provider import FakeProvider, Fate, Reply

MIB = 1024 * 1024

HOST = b"host: localhost\r\n"
SMALL = Limits(max_body_bytes=100_000, max_header_bytes=4096, header_timeout_s=0.2, max_connections=4)


def post(body: bytes, headers: bytes = b"", path: str = CHAT) -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n%b" % (path.encode(), HOST, headers, len(body), body)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def bodies_of(answer: bytes) -> list[Any]:
    """Read pipelined answers that all have a length."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append(json.loads(rest[:size]))
        answer = rest[size:]
    return found


async def is_alive(running: RunningGateway) -> None:
    """Check that the gateway still answers, and holds on to nothing."""
    answer = await ask(running, CHAT, chat())
    assert (answer.status, answer.text) == (200, "echo: hello there")
    await until(lambda: not running._server.connections)
    assert is_at_rest(running)


# -- limits


@pytest.mark.parametrize("how", ["by its length", "by its length, blindly sent", "by its chunks"])
def test_a_body_that_is_too_large_is_refused(how: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
    big = b" " * 20_000_000
    requests = {
        "by its length": head + b"content-length: 100001\r\n\r\n",
        "by its length, blindly sent": head + b"content-length: %d\r\n\r\n" % len(big) + big,
        "by its chunks": head + b"transfer-encoding: chunked\r\n\r\n" + b"4e20\r\n%b\r\n" % (b" " * 20_000) * 100,
    }

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), limits=SMALL) as running:
            async with caller(running) as one:
                one.writer.write(requests[how])
                await one.writer.drain()  # as most clients do: all of it, before they look for an answer
                answer = await one.answer()
            assert answer.status == 413
            assert "100000 bytes" in answer.json["error"]["message"]
            assert answer.headers["connection"] == "close"
            assert provider.attempts == 0
            fits = json.dumps(chat()).encode()
            assert (await ask(running, CHAT, fits + b" " * (100_000 - len(fits)))).status == 200
            await is_alive(running)

    run(main())


HEADER_FLOODS = {
    "one long header": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 9000 + b"\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 2000 + b"\r\n",
    "a long target": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no end": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 300_000,
    "trailers": b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    + b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 20_000,
    "a chunk extension": b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2;"
    + b"e" * 600_000,
}


@pytest.mark.parametrize("how", HEADER_FLOODS)
def test_headers_that_are_too_large_are_refused(how: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), limits=SMALL) as running:
            async with caller(running) as one:
                one.writer.write(HEADER_FLOODS[how])
                answer = await one.answer()
            assert answer.status == 431
            assert "4096 bytes" in answer.json["error"]["message"]
            await is_alive(running)

    run(main())


def test_a_trailer_changes_nothing() -> None:
    body = json.dumps(chat()).encode()
    request = b"POST %b HTTP/1.1\r\n%btransfer-encoding: chunked\r\nconnection: close\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n"
    trailers = b"x-fairlead-category: coding\r\nhost: evil\r\norigin: https://evil\r\n"

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            answer = await raw(running, request % (CHAT.encode(), HOST, len(body), body, trailers))
            assert status_of(answer) == 200
            assert b"x-fairlead-category: unknown" in answer

    run(main())


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"GET /hea",
        b"GET /health HTTP/1.1\r\nhost: loc",
        b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\n",
    ],
)
def test_who_sends_its_headers_too_slowly_is_not_waited_for(part: bytes) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), limits=SMALL) as running:
            answer = await raw(running, part)
            assert status_of(answer) == (408 if part else 0)
            await is_alive(running)

    run(main())


def test_a_slow_body_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            quick = server.ServerLimits(body_timeout_s=0.1, idle_timeout_s=0.1)
            monkeypatch.setattr(running._server, "limits", quick)
            answer = await raw(running, post(b" " * 1000)[:-1])
            assert status_of(answer) == 408
            async with caller(running) as idle:
                idle.send("GET", "/health")
                assert (await idle.answer()).status == 200
                assert await idle.is_ended(), "an idle connection is closed after a while"

    run(main())


def test_too_many_connections_are_turned_away() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), limits=Limits(max_connections=4)) as running:
            callers = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(4)]
            await until(lambda: len(running._server.connections) == 4)
            answer = await raw(running, b"")
            assert status_of(answer) == 503
            assert b"too many connections" in answer
            for _, writer in callers:
                writer.transport.abort()
            await until(lambda: not running._server.connections)
            await is_alive(running)

    run(main())


# -- framing

CHUNKED = b"transfer-encoding: chunked\r\n"
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
INNER = b"GET /admin/fleet HTTP/1.1\r\nhost: localhost\r\n\r\n"
AMBIGUOUS = {
    "length and coding": LINE + b"content-length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    "coding and length": LINE + CHUNKED + b"content-length: 6\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": LINE + b"content-length: 2\r\ncontent-length: 50\r\n\r\n{}" + INNER,
    "the same length twice": LINE + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}" + INNER,
    "a list of lengths": LINE + b"content-length: 2, 2\r\n\r\n{}" + INNER,
    "a signed length": LINE + b"content-length: +2\r\n\r\n{}" + INNER,
    "a negative length": LINE + b"content-length: -2\r\n\r\n{}" + INNER,
    "no length in it": LINE + b"content-length:\r\n\r\n{}" + INNER,
    "an endless length": LINE + b"content-length: 99999999999999999999999999\r\n\r\n{}" + INNER,
    "a hexadecimal length": LINE + b"content-length: 0x2\r\n\r\n{}" + INNER,
    "space before the colon": LINE + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    "an unknown coding": LINE + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunked not last": LINE + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    "chunked twice": LINE + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    "a bad chunk size": LINE + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n" + INNER,
    "a prefixed chunk size": LINE + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk that is too long": LINE + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n" + INNER,
    "chunks with bare line feeds": LINE + CHUNKED + b"\r\n2\n{}\n0\n\n" + INNER,
    "a folded header": LINE + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}" + INNER,
    "a folded coding": LINE + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER,
    "bare line feeds": b"POST /v1/x HTTP/1.1\nhost: localhost\n\n" + INNER,
    "one bare line feed": LINE + b"x: y\ncontent-length: 2\r\n\r\n{}" + INNER,
    "a bare carriage return": LINE + b"x: a\rb\r\ncontent-length: 2\r\n\r\n{}" + INNER,
    "a zero byte": LINE + b"x: a\x00b\r\n\r\n" + INNER,
    "no colon": LINE + b"nonsense\r\n\r\n" + INNER,
    "two hosts": b"GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n" + INNER,
    "two keys": LINE + b"authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n" + INNER,
    "a space in the target": b"GET /health x HTTP/1.1\r\nhost: localhost\r\n\r\n" + INNER,
    "bytes beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n" + INNER,
    "HTTP/2's greeting": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
    "an unknown method": b"BREW /pot HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "an unknown version": b"GET / HTTP/3.7\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("how", AMBIGUOUS)
def test_ambiguous_framing_is_refused_and_nothing_behind_it_is_read(how: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            answer = await raw(running, AMBIGUOUS[how], with_eof=True)
            assert status_of(answer) == 400
            assert answer.count(b"HTTP/1.1 ") == 1
            assert b"circuit" not in answer, "the request inside was answered"
            assert provider.attempts == 0
            await is_alive(running)

    run(main())


def test_requests_byte_by_byte() -> None:
    request = post(json.dumps(chat("slowly")).encode(), b"connection: close\r\n")

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running, caller(running) as one:
            for at in range(len(request)):
                one.writer.write(request[at : at + 1])
                await asyncio.sleep(0)
            assert (await one.answer()).text == "echo: slowly"

    run(main())


# -- the rest of HTTP/1.1


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            count = 60  # more than are read at once
            requests = [post(json.dumps(chat(f"{number}")).encode()) for number in range(count)]
            requests[7] = b"GET /v1/models/m HTTP/1.1\r\n" + HOST + b"\r\n"
            requests[9] = post(b"{", path=EMBEDDING)
            requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
            answers = bodies_of(await raw(running, b"".join(requests)))
            assert len(answers) == count
            said = [one["choices"][0]["message"]["content"] for one in answers if "choices" in one]
            assert said == [f"echo: {number}" for number in range(count) if number not in (7, 9)]
            assert answers[7]["id"] == "m"
            assert answers[9]["error"]
            assert provider.peak_answering == 1
            await is_alive(running)

    run(main())


def test_a_streamed_answer_is_followed_by_the_next_in_line() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running, caller(running) as one:
            for number in range(3):
                one.send("POST", CHAT, chat(f"{number}", stream=number != 1))
            assert [(await one.answer()).text for _ in range(3)] == ["echo: 0", "echo: 1", "echo: 2"]
            assert len(running._server.connections) == 1

    run(main())


def test_rubbish_behind_a_request_under_way_stops_its_work() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider, gateway(node(provider)) as running:
            answer = await raw(running, post(json.dumps(chat()).encode()) + b"\x00\x01rubbish\r\n\r\n")
            assert answer == b""
            await until(lambda: provider.abandoned == provider.attempts)

    run(main())


def test_http_1_0() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            body = json.dumps(chat(stream=True)).encode()
            head = b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            answer = await raw(running, head + body)
            assert status_of(answer) == 200
            lines, _, text = answer.partition(b"\r\n\r\n")
            assert b"chunked" not in lines
            assert b"connection: close" in lines
            assert text.startswith(b"data: {")
            assert text.endswith(b"data: [DONE]\n\n")
            whole = await raw(running, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert b"connection: close" in whole
            cut = Reply(fate=Fate.CUT)
            provider.default = cut
            broken = await raw(running, head + body)
            assert b"[DONE]" not in broken
            assert b'"error"' in broken

    run(main())


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/api/tags", "/nowhere"])
def test_head_has_the_heads_of_get_and_no_body(path: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            plain = await ask(running, path)
            async with caller(running) as one:
                for _ in range(2):
                    one.send("HEAD", path)
                    answer = await one.answer(is_head=True)
                    assert answer.status == plain.status
                    if path != "/nowhere":
                        assert answer.headers["content-length"] == plain.headers["content-length"]
                one.send("GET", "/health")
                assert (await one.answer()).json["status"] == "ok", "nothing of a body is in between"

    run(main())


def test_expect_100_continue() -> None:
    body = json.dumps(chat()).encode()

    async def main() -> None:
        async with (
            FakeProvider() as provider,
            gateway(node(provider), limits=SMALL) as running,
            caller(running) as one,
        ):
            one.writer.write(post(body, b"expect: 100-continue\r\n")[: -len(body)])
            assert (await one.head()).status == 100
            one.writer.write(body)
            assert (await one.answer()).status == 200
            huge = LINE + b"expect: 100-continue\r\ncontent-length: 999999\r\n\r\n"
            one.writer.write(huge)
            assert (await one.answer()).status == 413, "before any of the body is sent"

    run(main())


@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_ignored(offer: bytes) -> None:
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: %b\r\n" % offer

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running, caller(running) as one:
            one.writer.write(b"GET /health HTTP/1.1\r\n" + HOST + upgrade + b"\r\n")
            assert (await one.answer()).status == 200
            body = json.dumps(chat("upgraded")).encode()
            one.writer.write(post(body, upgrade) + b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await one.answer()).text == "echo: upgraded"
            assert (await one.answer()).json["status"] == "ok"
            one.writer.write(b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await one.answer()).status == 404

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/messages", 404),
        ("POST", "/nothing", 404),
        ("GET", O_CHAT, 405),
        ("POST", "/api/tags", 405),
        ("POST", "/api/nothing", 404),
        ("OPTIONS", "/v1/models", 405),
        ("GET", "http://localhost/health", 404),
    ],
)
def test_wrong_methods_and_paths(method: str, path: str, status: int) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            answer = await ask(running, path, chat() if method == "POST" else None, method=method)
            assert answer.status == status
            if status == 405:
                assert answer.headers["allow"]
            if path.startswith("/v1"):
                assert set(answer.json["error"]) == {"message", "type", "param", "code"}

    run(main())


# -- bodies

WRONG_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"{}",
    b'{"model": 7}',
    b'{"model": "m", "messages": 7, "prompt": 7, "input": 7}',
    b'{"model": "m", "messages": [7], "prompt": {}, "input": {}}',
    b'{"model": "m", "messages": [{"role": "user", "content": 7}], "prompt": [[]], "input": [{}], "stream": "yes"}',
    b'{"model": "m", "messages": ' + b"[" * 50_000,
    b'{"model": "m"} trailing',
    json.dumps(chat(model="nobody") | {"prompt": "x", "input": "x"}).encode(),
    json.dumps(chat(model="M") | {"prompt": "x", "input": "x"}).encode(),
]


@pytest.mark.parametrize("path", [CHAT, COMPLETION, EMBEDDING, O_CHAT, O_GENERATE, O_EMBED, "/v1/messages"])
def test_wrong_bodies_are_refused_in_the_callers_own_dialect(path: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            for body in WRONG_BODIES:
                answer = await ask(running, path, body)
                if answer.status == 200:  # some dialects are content with little: Ollama loads a model by its name
                    assert path.startswith("/api/")
                    continue
                assert answer.status in (400, 404), (body[:40], answer.body)
                if path.startswith("/api/"):
                    assert list(answer.json) == ["error"]
                    assert isinstance(answer.json["error"], str)
                else:
                    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
                    assert answer.json["error"]["message"]
                if b"nobody" in body:
                    assert answer.status == 404
                    assert "nobody" in answer.body.decode()
            await is_alive(running)

    run(main())


def test_an_unknown_model_names_the_nearest() -> None:
    async def main() -> None:
        async with FakeProvider(models=("qwen2.5-coder:7b",)) as provider, gateway(node(provider)) as running:
            answer = await ask(running, CHAT, chat(model="qwen2.5-codr:7b"))
            assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
            assert "qwen2.5-coder:7b" in answer.json["error"]["message"]
            ollama = await ask(running, O_CHAT, chat(model="qwen2.5-codr:7b"))
            assert ollama.status == 404
            assert "qwen2.5-coder:7b" in ollama.json["error"]
            assert provider.attempts == 0

    run(main())


# -- fuzz

TOKENS = st.sampled_from(
    [
        b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"/v1/chat/completions", b"/api/chat", b"/api/generate",
        b"/v1/models/", b"/v1/decisions/", b"/metrics", b"/v1/x", b"/admin/nodes/a/drain", b"%00", b"%", b"?", b" ",
        b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"host: localhost\r\n", b"content-length: 2\r\n", b"\r\n", b"\r\n\r\n",
        b"content-length: 99\r\n", b"transfer-encoding: chunked\r\n", b"expect: 100-continue\r\n", b"0\r\n\r\n",
        b"connection: close\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n", b"2\r\n{}\r\n", b"{}", b'{"model":"m"}',
        b'{"model":"m","messages":[]}', b"x-fairlead-strategy: random\r\n", b"x-fairlead-deadline-ms: 1\r\n",
        b"x-fairlead-session: \xff\xfe\r\n", b"x-fairlead-via: ,\r\n", b"origin: null\r\n", b"\n", b"\r", b"\x00",
        b"content-type: multipart/form-data; boundary=x\r\n", b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\n",
    ]
)  # fmt: skip
BYTES = st.lists(st.one_of(TOKENS, st.binary(max_size=20)), max_size=14).map(b"".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["model", "messages", "prompt", "input", "stream", "tools", "options", "format", "max_tokens", "stream_options",
     "response_format", "name", "images", "n", "stop", "keep_alive", "think", "suffix", "tool_choice", "logprobs"]
)  # fmt: skip
PATHS = st.sampled_from([CHAT, COMPLETION, EMBEDDING, O_CHAT, O_GENERATE, O_EMBED, "/api/embeddings", "/api/show"])
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "tool", "x"]), "content": JSON})
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "auto", ""])}, optional={"messages": st.lists(MESSAGE, max_size=2)}
)
QUIET = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Fuzzed:
    """One gateway for all examples of a fuzz test, on a loop of its own."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.openai, self.ollama = FakeProvider(remembers=False), FakeProvider("ollama", remembers=False)

    async def start(self) -> None:
        await self.openai.start()
        await self.ollama.start()
        self.context = gateway(node(self.openai, "a"), node(self.ollama, "b"), strategy="round_robin")
        self.running = await self.context.__aenter__()

    async def stop(self) -> None:
        await is_alive(self.running)
        await self.context.__aexit__(None, None, None)
        await self.openai.stop()
        await self.ollama.stop()


@pytest.fixture
def fuzzed(caplog: pytest.LogCaptureFixture) -> Any:
    one = Fuzzed()
    one.loop.run_until_complete(one.start())
    yield one
    one.loop.run_until_complete(one.stop())
    one.loop.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


@QUIET
@given(data=BYTES)
def test_no_bytes_bring_the_gateway_down(fuzzed: Fuzzed, data: bytes) -> None:
    answer = fuzzed.loop.run_until_complete(raw(fuzzed.running, data, with_eof=True))
    assert status_of(answer) != 500
    assert b" 500 Internal" not in answer


@QUIET
@given(path=PATHS, body=st.one_of(BODY, st.just({"model": "m"})), more=st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_body_brings_the_gateway_down(fuzzed: Fuzzed, path: str, body: dict[str, Any], more: dict[str, Any]) -> None:
    async def main() -> None:
        text = json.dumps(body | more)
        answer = await asyncio.wait_for(ask(fuzzed.running, path, text.encode("utf-8", "surrogatepass")), 5.0)
        assert answer.status != 500, answer.body
        assert answer.status in (200, 400, 404, 422) or answer.status >= 502

    fuzzed.loop.run_until_complete(main())


def test_who_sends_without_end_and_reads_nothing_holds_up_nobody() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running, caller(running) as greedy:
            greedy.reader._transport.pause_reading()  # type: ignore[attr-defined]  # it never reads
            request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500
            for _ in range(200):
                greedy.writer.write(request)
                answer = await ask(running, "/health", method="GET")
                assert answer.status == 200
                if greedy.writer.transport.get_write_buffer_size() > MIB:
                    break
            held = sum(one._transport.get_write_buffer_size() for one in running._server.connections)
            assert held < MIB, "answers that nobody reads are not piled up"
            queued = sum(len(one._queue) for one in running._server.connections)
            assert queued < 20_000

    run(main())


def test_pipelined_requests_are_answered_in_order_whatever_they_cost() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running, caller(running) as one:
            paths = ["/v1/models", "/health", "/api/version", "/ready", "/v1/models"] * 8
            one.writer.write(b"".join(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % p.encode() for p in paths))
            bodies = [(await one.answer()).body for _ in paths]
            for path, body in zip(paths, bodies, strict=True):
                assert {"/v1/models": b'"data"', "/api/version": b'"version"'}.get(path, b'"status"') in body

    run(main())
