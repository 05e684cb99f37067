"""Each dialect in front of each kind of node, streamed or not; what an answer tells of its way."""

from typing import Any

import pytest
from gateway_shared import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    O_CHAT,
    O_EMBED,
    O_GENERATE,
    Answer,
    ask,
    chat,
    gateway,
    node,
    run,
)

from fairlead.config import ServedModel
from fairlead.testing.answers import EXTRA, FakeDialect
from fairlead.testing.provider import FakeProvider, Reply

PROMPT = "fix the crash in the parser, bitte schön"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: chat(PROMPT),
    COMPLETION: {"model": "m", "prompt": PROMPT},
    O_CHAT: chat(PROMPT),
    O_GENERATE: {"model": "m", "prompt": PROMPT},
}
BOTH: tuple[FakeDialect, ...] = ("openai", "ollama")


def is_ollama(path: str) -> bool:
    return path.startswith("/api/")


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_what_the_model_says_reaches_the_caller(path: str, stream: bool, kind: FakeDialect) -> None:
    async def main() -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider, "gpu-1")) as running:
            answer = await ask(running, path, BODIES[path] | {"stream": stream})
            assert answer.status == 200
            assert answer.is_whole
            assert answer.text == f"echo: {PROMPT}"
            wanted = ("application/x-ndjson" if is_ollama(path) else "text/event-stream") if stream else "json"
            assert wanted in answer.headers["content-type"]
            if stream:
                assert len(answer.chunks) > 1, "each piece leaves as it comes"
            check_way(answer, "gpu-1")
            assert provider.requests[0].asked.model == "m"
            assert provider.requests[0].asked.stream is stream

    run(main())


def check_way(answer: Answer, node_name: str) -> None:
    headers = answer.headers
    assert headers["x-fairlead-model"] == "m"
    assert headers["x-fairlead-node"] == node_name
    assert headers["x-fairlead-category"] == "debugging"
    assert headers["x-fairlead-attempts"] == "1"
    assert headers["x-fairlead-decision"]


def test_an_openai_stream_ends_as_clients_expect() -> None:
    async def main(kind: FakeDialect) -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider)) as running:
            body = chat(stream=True, stream_options={"include_usage": True})
            events = (await ask(running, CHAT, body)).events
            assert events[-1] == "[DONE]"
            assert events[-2]["choices"] == []
            assert events[-2]["usage"]["completion_tokens"] == 7
            reasons = [choice["finish_reason"] for event in events[:-2] for choice in event["choices"]]
            assert [reason for reason in reasons if reason] == ["stop"]
            roles = [event for event in events[:-2] if event["choices"][0]["delta"].get("role")]
            assert len(roles) == 1
            assert len({(event["id"], event["created"], event["model"]) for event in events[:-1]}) == 1

    for kind in BOTH:
        run(main(kind))


def test_an_ollama_stream_ends_with_counts() -> None:
    async def main(kind: FakeDialect) -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider)) as running:
            lines = (await ask(running, O_CHAT, chat())).lines
            assert [line["done"] for line in lines[:-1]] == [False] * (len(lines) - 1)
            last = lines[-1]
            assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 7)

    for kind in BOTH:
        run(main(kind))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("path", [EMBEDDING, O_EMBED])
def test_embeddings(path: str, kind: FakeDialect) -> None:
    async def main() -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider)) as running:
            answer = (await ask(running, path, {"model": "m", "input": ["a", "b"]})).json
            found = answer["embeddings"] if is_ollama(path) else [one["embedding"] for one in answer["data"]]
            assert found == [[0.25, -0.5, 1.0]] * 2

    run(main())


@pytest.mark.parametrize("kind", BOTH)
def test_unknown_fields_pass_both_ways(kind: FakeDialect) -> None:
    unknown = {"x_caller": {"deep": [1, None, "ü"]}}

    async def main() -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider)) as running:
            own, other = (CHAT, O_CHAT) if kind == "openai" else (O_CHAT, CHAT)
            for path in (own, other):
                answer = await ask(running, path, chat(stream=False) | unknown)
                assert provider.requests[-1].asked.fields["x_caller"] == unknown["x_caller"]
                if path == own:
                    assert answer.json.items() >= EXTRA.items()

    run(main())


def test_bodies_of_one_dialect_are_relayed_byte_by_byte() -> None:
    body = b'{"model" : "m",\n "messages":[{"role":"user","content":"a\\u00e4"}], "seed":1e2}'

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            provider.default = Reply(body=b'{"choices" : [{"message":{"content":"x"}}], "z": 1.50}')
            answer = await ask(running, CHAT, body)
            assert provider.requests[0].body == body
            assert answer.body == provider.default.body

    run(main())


def test_the_nodes_own_name_for_a_model_is_used_and_the_true_model_told() -> None:
    async def main() -> None:
        async with FakeProvider(models=("org/m-7b-q4",)) as provider:
            served = ServedModel(name="org/m-7b-q4", public="small")
            async with gateway(node(provider, models=[served]), aliases={"gpt": "small"}) as running:
                for asked in ("small", "gpt", "auto"):
                    answer = await ask(running, CHAT, chat(model=asked))
                    assert provider.requests[-1].asked.model == "org/m-7b-q4"
                    assert answer.headers["x-fairlead-model"] == "small"
                    assert answer.json["model"] == "org/m-7b-q4"

    run(main())


def test_models_are_asked_of_nodes_that_name_none() -> None:
    async def main() -> None:
        async with FakeProvider("ollama", ("x:1",)) as one, FakeProvider("openai", ("org/y",)) as two:
            silent = [type(n)(name=n.name, url=n.url, kind=n.kind) for n in (node(one, "one"), node(two, "two"))]
            async with gateway(*silent) as running:
                names = {model["id"] for model in (await ask(running, "/v1/models")).json["data"]}
                assert names >= {"x:1", "org/y", "auto"}
                for path in ("/v1/models/org/y", "/v1/models/org%2Fy", "/v1/models/x%3A1"):
                    assert (await ask(running, path)).status == 200
                tags = (await ask(running, "/api/tags")).json["models"]
                assert {one["name"] for one in tags} >= {"x:1", "org/y"}
                assert (await ask(running, CHAT, chat(model="org/y"))).headers["x-fairlead-node"] == "two"
                assert (await ask(running, "/api/show", {"model": "x:1"})).status == 200
                assert (await ask(running, "/api/version")).json["version"]
                assert (await ask(running, "/api/ps")).json["models"]

    run(main())


def test_paths_that_a_node_serves_by_itself_pass_through() -> None:
    async def main() -> None:
        async with FakeProvider(hangs_up_after_streams=True) as provider, gateway(node(provider)) as running:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
            headers = {"anthropic-version": "2023-06-01", "x-api-key": "caller-secret"}
            answer = await ask(running, "/v1/messages", body, headers=headers)
            assert answer.json["content"] == [{"type": "text", "text": "echo: hi"}]
            seen = provider.requests[0]
            assert seen.path == "/v1/messages"
            assert seen.headers["anthropic-version"] == "2023-06-01"
            assert "x-api-key" not in seen.headers
            streamed = await ask(running, "/v1/messages", body | {"stream": True})
            assert streamed.is_whole
            assert streamed.body.rstrip().endswith(b'data: {"type":"message_stop"}')

    run(main())


def test_the_decision_record_tells_what_happened() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, "a"), node(provider, "b")) as running:
            answer = await ask(running, CHAT, chat(PROMPT, stream=True))
            found = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")
            record = found.json
            assert len(found.body) < 4096
            assert (record["outcome"], record["status"], record["attempts"]) == ("success", 200, 1)
            assert record["decision"]["chosen"]["node"] == answer.headers["x-fairlead-node"]
            assert record["decision"]["category"] == "debugging"
            assert {one["node"] for one in record["decision"]["candidates"]} == {"a", "b"}
            assert record["first_token_ms"] <= record["latency_ms"]
            assert PROMPT.encode() not in found.body
            assert (await ask(running, "/v1/decisions/nothing")).status == 404

    run(main())


def test_wishes_in_headers() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            headers = {"x-fairlead-strategy": "round_robin", "x-fairlead-category": "testing"}
            answer = await ask(running, CHAT, chat(), headers=headers)
            assert answer.headers["x-fairlead-category"] == "testing"
            record = (await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")).json
            assert record["decision"]["strategy"] == "round_robin"
            wrong = ("strategy", "x"), ("category", "x"), ("max-cost-usd", "nan"), ("deadline-ms", "-1")
            for name, value in wrong:
                refused = await ask(running, CHAT, chat(), headers={f"x-fairlead-{name}": value})
                assert refused.status == 400
                assert f"x-fairlead-{name}" in refused.json["error"]["message"]
            assert provider.attempts == 1

    run(main())


def test_empty_ollama_calls_load_without_a_node_that_could() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            answer = await ask(running, O_GENERATE, {"model": "m"})
            assert (answer.status, answer.json["done_reason"]) == (200, "load")
            assert provider.attempts == 0

    run(main())


def test_health_and_readiness() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            assert (await ask(running, "/health")).json["status"] == "ok"
            assert (await ask(running, "/ready")).status == 200
            running.gateway.drain()
            assert (await ask(running, "/ready")).status == 503
            assert (await ask(running, "/health")).status == 200
            hello = await ask(running, "/")
            assert hello.body == b"Ollama is running"

    run(main())
