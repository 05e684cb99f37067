"""Discovery finds what is there and is upset by nothing that is."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest

from fairlead.discovery import DEFAULT_PORTS, Found, Kind, ModelSeen, discover, list_models
from fairlead.errors import FairleadError
from fairlead.httpget import GetError, get
from fairlead.local.process import LocalServer

T = TypeVar("T")
Pages = dict[str, object]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

VERSION: Pages = {"/api/version": {"version": "0.9.3"}}
TAGS: Pages = {"/api/tags": {"models": [{"name": "smollm2:135m"}]}}
SHOW: Pages = {
    "/api/show": {"model_info": {"llama.context_length": 8192}, "capabilities": ["completion", "tools"]},
}


def pages(answers: Pages, server: str = "test") -> Serve:
    """Serve JSON by path, 404 for the rest; bytes go out as they are."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = answers.get(head.split()[1].decode(), answers.get("*"))
        if not isinstance(found, bytes):
            body = json.dumps(found).encode()
            status = "404 Not Found" if found is None else "200 OK"
            found = f"HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        writer.write(found)
        await writer.drain()

    return serve


def closing(serve: Serve) -> Serve:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return served


def with_servers(ask: Callable[[list[int]], Awaitable[T]], *serves: Serve, host: str = "127.0.0.1") -> T:
    """Run servers on free ports and return what `ask` makes of the ports."""

    async def run() -> T:
        async with AsyncExitStack() as stack:
            ports = []
            for serve in serves:
                server = await stack.enter_async_context(await asyncio.start_server(closing(serve), host, 0))
                ports.append(server.sockets[0].getsockname()[1])
            return await ask(ports)

    return asyncio.run(run())


def found_of(serve: Serve, kind: Kind = "openai", timeout_s: float = 5.0) -> Found:
    [found] = with_servers(lambda ports: discover([(ports[0], kind, "label")], timeout_s), serve)
    return found


def models_of(rows: list[Any], **more: object) -> tuple[ModelSeen, ...]:
    return found_of(pages({"/v1/models": {"data": rows}, **more})).models


def test_a_real_server_is_found_under_its_own_name(full: LocalServer) -> None:
    candidates: list[tuple[int, Kind, str]] = [(full.port, "openai", "vllm"), (full.port, "openai", "other")]
    first, second = asyncio.run(discover(candidates, timeout_s=5))
    assert first == Found("llama.cpp", "openai", full.url, (ModelSeen("smollm2:135m", 512),))
    assert second.name == f"llama.cpp-{full.port}"
    assert asyncio.run(list_models("openai", full.url + "/")) == first.models


def test_nothing_listening_is_not_mentioned() -> None:
    async def free_port() -> int:
        server = await asyncio.start_server(closing(pages({})), "127.0.0.1", 0)
        async with server:
            return int(server.sockets[0].getsockname()[1])

    assert asyncio.run(discover([(asyncio.run(free_port()), "openai", "x")])) == []
    assert [candidate.port for candidate in DEFAULT_PORTS] == [11434, 8000, 8080, 1234, 30000]


def test_ollama_tells_context_and_capabilities() -> None:
    found = found_of(pages(VERSION | TAGS | SHOW), "ollama")
    assert found.models == (ModelSeen("smollm2:135m", 8192, frozenset({"completion", "tools", "json"})),)
    assert found.usable


@pytest.mark.parametrize("show", [None, [], {"model_info": [], "capabilities": "x"}, {}, b"", {"model_info": {"a": 1}}])
def test_an_ollama_that_does_not_describe_its_models_still_has_them(show: object) -> None:
    assert found_of(pages(VERSION | TAGS | {"/api/show": show}), "ollama").models == (ModelSeen("smollm2:135m"),)


def test_an_ollama_that_describes_its_models_too_slowly_still_has_them() -> None:
    never = asyncio.Event

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/api/show" in head:
            await never().wait()
        page = (VERSION | TAGS).get(head.split()[1].decode())
        body = json.dumps(page).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    found = found_of(serve, "ollama", timeout_s=0.3)
    assert found.models == (ModelSeen("smollm2:135m"),)


def test_fairlead_is_skipped_even_when_it_wants_a_key() -> None:
    found = found_of(pages({"/health": {"status": "ok"}}, server="fairlead"))
    assert (found.name, found.usable, found.note) == ("fairlead", False, "it is fairlead itself")


@pytest.mark.parametrize(
    ("row", "context"),
    [
        ({"owned_by": "vllm", "max_model_len": 4096}, 4096),
        ({"owned_by": "llamacpp", "meta": {"n_ctx": 1024, "n_ctx_train": 8192}}, 1024),
        ({"meta": {"n_ctx_train": 8192}}, 8192),
        ({"context_length": 131072}, 131072),
        ({"max_model_len": "many", "meta": 3}, None),
        ({"max_model_len": True}, None),
    ],
)
def test_the_context_is_read_where_the_server_tells_it(row: dict[str, Any], context: int | None) -> None:
    assert models_of([{"id": "m", **row}]) == (ModelSeen("m", context),)


def test_an_old_llama_cpp_tells_its_context_elsewhere() -> None:
    old = {"id": "m", "owned_by": "llamacpp", "meta": {}}
    props = {"default_generation_settings": {"n_ctx": 777}}
    assert models_of([old], **{"/props": props}) == (ModelSeen("m", 777),)
    assert models_of([old]) == (ModelSeen("m"),)
    assert models_of([old], **{"/props": {}}) == (ModelSeen("m"),)


def test_entries_without_a_name_are_left_out() -> None:
    assert models_of([3, {}, {"id": 4}, {"id": ""}, {"id": "m"}]) == (ModelSeen("m"),)


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP"),
        (b"", "it closed the connection before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "it closed the connection before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "its answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "its answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "/models answers with something else than an object"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data":{}}', "its answer is not a list of models"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data":[]}', "it has no models"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "/models answers with status 302"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "it wants a valid key (status 401)"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), "its answer is larger than 1024 KiB"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 << 20), "its answer is larger than 1024 KiB"),
    ],
)
def test_whatever_else_has_the_port_is_skipped_with_a_note(answer: bytes, note: str) -> None:
    found = found_of(pages({"*": answer}))
    assert not found.usable
    assert found.note.startswith(note)


def test_a_server_that_says_nothing_costs_the_time_limit_and_no_more() -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    assert found_of(silent, timeout_s=0.05).note == "it did not answer within 0.05 s"


def test_another_server_on_ollamas_port_is_no_ollama() -> None:
    assert "status 404" in found_of(pages({}), "ollama").note
    assert "Ollama's version" in found_of(pages({"*": {"version": 3, "models": []}}), "ollama").note


def test_a_chunked_answer_is_read() -> None:
    body = b'{"data":[{"id":"m"}]}'
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert found_of(pages({"*": chunked})).models == (ModelSeen("m"),)


def test_a_server_on_the_other_loopback_is_found() -> None:
    try:
        [found] = with_servers(
            lambda ports: discover([(ports[0], "openai", "six")], 5),
            pages({"/v1/models": {"data": [{"id": "m"}]}}),
            host="::1",
        )
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert found.url.startswith("http://[::1]:")
    assert found.usable


def test_a_key_is_sent_to_the_node_and_never_told() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with pytest.raises(FairleadError, match="wants a valid key") as caught:
        with_servers(lambda ports: list_models("openai", f"http://u:pw@127.0.0.1:{ports[0]}/v1", "sk-1"), serve)
    assert b"Authorization: Bearer sk-1\r\n" in heads[0]
    assert "sk-1" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_what_http_cannot_carry_is_not_sent() -> None:
    for url, headers in [
        ("ftp://x/", {}),
        ("http://127.0.0.1:9/a b\x00", {}),
        ("http://127.0.0.1:9/", {"A": "b\r\nC: d"}),
    ]:
        with pytest.raises(GetError, match=r"no http address|cannot carry"):
            asyncio.run(get(url, headers=headers, timeout_s=1, limit_bytes=9))
    with pytest.raises(GetError, match="the connection failed"):
        asyncio.run(get("http://name.invalid/", timeout_s=9, limit_bytes=9))
