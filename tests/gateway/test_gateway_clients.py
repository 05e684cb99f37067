"""The real clients of the package index, each doing what its users do, against fakes of both kinds."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import ollama
import openai
import pytest
from gateway_shared import gateway, node, run, until

from fairlead.gateway import RunningGateway
from fairlead.testing.answers import FakeDialect
from fairlead.testing.provider import FakeProvider, Fate, Reply

WEATHER: dict[str, Any] = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
TOOL: dict[str, Any] = {"type": "function", "function": WEATHER}
HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
BOTH: tuple[FakeDialect, ...] = ("openai", "ollama")
Doing = Callable[[RunningGateway, FakeProvider], None]


def drive(doing: Doing, *kinds: FakeDialect) -> None:
    """Let a blocking client work in a thread, as programs do, while the gateway runs in the loop."""

    async def main(kind: FakeDialect) -> None:
        async with FakeProvider(kind) as provider, gateway(node(provider)) as running:
            await asyncio.to_thread(doing, running, provider)
            await until(lambda: not running.orchestrator.in_flight)

    for kind in kinds or BOTH:
        run(main(kind))


@contextmanager
def openai_client(running: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=2) as client:
        yield client


def test_openai_chats_streams_calls_tools_and_embeds() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        with openai_client(running) as client:
            chats: Any = client.chat.completions
            assert {model.id for model in client.models.list()} == {"m", "auto"}
            assert client.models.retrieve("m").id == "m"
            whole = chats.create(model="auto", messages=HI)
            assert whole.choices[0].message.content == "echo: hi"
            assert whole.usage.completion_tokens == 7
            chunks = list(chats.create(model="m", messages=HI, stream=True, stream_options={"include_usage": True}))
            said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
            assert "".join(said) == "echo: hi"
            assert chunks[-1].usage.completion_tokens == 7
            called = chats.create(model="m", messages=HI, tools=[TOOL]).choices[0]
            assert called.finish_reason == "tool_calls"
            assert called.message.tool_calls[0].function.name == "get_weather"
            with chats.stream(model="m", messages=HI, tools=[TOOL]) as stream:
                final = stream.get_final_completion()
            call = final.choices[0].message.tool_calls[0]
            assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Ghent"}')
            assert client.completions.create(model="m", prompt="once").choices[0].text == "echo: once"
            vectors = client.embeddings.create(model="m", input=["a", "b"]).data
            assert [vector.embedding for vector in vectors] == [[0.25, -0.5, 1.0]] * 2
            raw = chats.with_raw_response.create(model="m", messages=HI)
            assert raw.headers["x-fairlead-node"] == "a"

    drive(doing)


def test_openai_is_told_of_errors_and_does_not_multiply_them() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        with openai_client(running) as client:
            chats: Any = client.chat.completions
            with pytest.raises(openai.NotFoundError, match="did you mean 'm'"):
                chats.create(model="mm", messages=HI)
            provider.default = Reply(status=400, body=b'{"error":{"message":"bad temperature","param":"temperature"}}')
            with pytest.raises(openai.BadRequestError, match="bad temperature") as refused:
                chats.create(model="m", messages=HI)
            assert refused.value.param == "temperature" or provider.dialect == "ollama"
            provider.default = Reply(status=500)
            before = provider.attempts
            with pytest.raises(openai.InternalServerError):
                chats.create(model="m", messages=HI)
            assert provider.attempts - before <= 3, "the gateway's own tries, and none of the client's"
            provider.default = Reply(fate=Fate.CUT)
            with pytest.raises(openai.APIError, match="closed the connection"):
                list(chats.create(model="m", messages=HI, stream=True))

    drive(doing)


def test_openai_may_leave_a_stream_in_the_middle() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        provider.default = Reply(fate=Fate.STALL)
        with openai_client(running) as client:
            chats: Any = client.chat.completions
            with chats.create(model="m", messages=HI, stream=True) as stream:
                next(iter(stream))

    drive(doing)


def test_ollama_chats_streams_calls_tools_and_embeds() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        client: Any = ollama.Client(host=running.url)
        assert {model.model for model in client.list().models} == {"m", "auto"}
        assert client.show("m") is not None
        assert client.chat(model="m", messages=HI).message.content == "echo: hi"
        lines = list(client.chat(model="auto", messages=HI, stream=True))
        assert "".join(line.message.content or "" for line in lines) == "echo: hi"
        assert lines[-1].done
        assert lines[-1].eval_count == 7
        assert client.generate(model="m", prompt="once", options={"num_predict": 5}).response == "echo: once"
        assert "".join(part.response for part in client.generate(model="m", prompt="x", stream=True)) == "echo: x"
        for stream in (False, True):
            answer = client.chat(model="m", messages=HI, tools=[TOOL], stream=stream)
            parts = list(answer) if stream else [answer]
            calls = [call for part in parts for call in part.message.tool_calls or ()]
            assert [(call.function.name, call.function.arguments) for call in calls] == [
                ("get_weather", {"city": "Ghent"})
            ]
        assert client.embed(model="m", input=["a", "b"]).embeddings == [[0.25, -0.5, 1.0]] * 2
        assert client.embeddings(model="m", prompt="a").embedding == [0.25, -0.5, 1.0]
        client.close()

    drive(doing)


def test_ollama_is_told_of_errors() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        client: Any = ollama.Client(host=running.url)
        with pytest.raises(ollama.ResponseError, match="did you mean 'm'") as missing:
            client.chat(model="mm", messages=HI)
        assert missing.value.status_code == 404
        provider.default = Reply(status=400, body=b'{"error":"bad options"}')
        with pytest.raises(ollama.ResponseError, match="bad options"):
            client.generate(model="m", prompt="x")
        provider.default = Reply(fate=Fate.ERROR_EVENT)
        with pytest.raises(ollama.ResponseError, match="the model broke"):
            list(client.chat(model="m", messages=HI, stream=True))
        client.close()

    drive(doing)


def test_anthropic_passes_through() -> None:
    def doing(running: RunningGateway, provider: FakeProvider) -> None:
        with anthropic.Anthropic(base_url=running.url, api_key="caller-key", max_retries=0) as client:
            messages: Any = client.messages
            assert [model.id for model in client.models.list()] == ["m", "auto"]
            whole = messages.create(model="m", max_tokens=9, messages=HI)
            assert whole.content[0].text == "echo: hi"
            with messages.stream(model="m", max_tokens=9, messages=HI) as stream:
                assert "".join(stream.text_stream) == "echo: hi"
                assert stream.get_final_message().usage.output_tokens == 7
            assert "caller-key" not in str([request.headers for request in provider.requests])
            body = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too many"}}'
            provider.default = Reply(status=400, body=body)
            with pytest.raises(anthropic.BadRequestError, match="max_tokens: too many"):
                messages.create(model="m", max_tokens=9, messages=HI)
            provider.default = Reply(fate=Fate.CUT)
            with messages.stream(model="m", max_tokens=9, messages=HI) as broken, pytest.raises(anthropic.APIError):
                broken.get_final_message()

    drive(doing, "openai")
