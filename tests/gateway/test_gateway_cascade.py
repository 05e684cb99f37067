"""Cascades over real sockets: the cheap answer where it passes, the dear one where not, and no trace of the other."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gateway_shared import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    O_CHAT,
    O_GENERATE,
    Answer,
    ask,
    caller,
    chat,
    gateway,
    node,
    retries,
    run,
    until,
)

from fairlead.config import ModelConfig, Timeouts
from fairlead.config.schema import CascadeConfig, CheckConfig
from fairlead.dialects import Call
from fairlead.domain import Price
from fairlead.errors import ConfigError, Fault
from fairlead.gateway import RunningGateway
from fairlead.orchestrator import held_reply
from fairlead.orchestrator.cascade import Cascades
from fairlead.telemetry.decision_log import render
from fairlead.testing.answers import FakeDialect
from fairlead.testing.provider import FakeProvider, Fate, Received, Reply

REFUSAL = "I'm sorry, but I can't help with that request."
CHEAP, DEAR = "a cheap answer", "a dear answer"
PATHS = (CHAT, COMPLETION, O_CHAT, O_GENERATE)
STEPS: list[tuple[str, int, str, bool, str | None]] = []


def cascade(check: CheckConfig | None = None, *models: str) -> CascadeConfig:
    return CascadeConfig(name="both", models=models or ("cheap", "dear"), check=check or CheckConfig())


@asynccontextmanager
async def cascading(
    provider: FakeProvider,
    check: CheckConfig | None = None,
    *,
    models: tuple[str, ...] = (),
    plugins: Any = None,
    **more: Any,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway whose callers may ask for the cascade `both`."""
    slots = more.pop("slots", None)
    more["models"] = more.pop("models_", ())
    async with gateway(node(provider, slots=slots), cascades=(cascade(),), **more) as running:
        STEPS.clear()
        settings = [cascade(check, *models)]
        cascades = Cascades(running.orchestrator, settings, plugins=plugins, on_step=lambda *step: STEPS.append(step))
        running.gateway._cascades = cascades
        yield running
        await until(lambda: cascades.store.used_bytes == 0)


def by_model(**replies: Reply | str) -> Callable[[Received], Reply]:
    """Answer each model in its own way."""

    def choose(request: Received) -> Reply:
        reply = replies[request.asked.model]
        return Reply(text=reply) if isinstance(reply, str) else reply

    return choose


def provider(kind: FakeDialect = "openai", **replies: Reply | str) -> FakeProvider:
    server = FakeProvider(kind, models=tuple(replies))
    server.choose = by_model(**replies)
    return server


def body(path: str, prompt: str = "hello", **more: Any) -> dict[str, Any]:
    if path in (CHAT, O_CHAT):
        return chat(prompt, "both", **more)
    return {"model": "both", "prompt": prompt, **more}


def asked(server: FakeProvider) -> list[str]:
    return [request.asked.model for request in server.requests]


def came_from(answer: Answer) -> tuple[str, str]:
    return answer.headers["x-fairlead-model"], answer.headers["x-fairlead-cascade"]


# -- who answers


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_passing_answer_arrives_as_if_the_cheap_model_had_been_asked(
    path: str, stream: bool, kind: FakeDialect
) -> None:
    async def main() -> None:
        async with provider(kind, cheap=CHEAP, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, path, body(path, stream=stream))
            plain = await ask(running, path, body(path, stream=stream) | {"model": "cheap"})
            assert answer.status == 200
            assert answer.text == CHEAP
            assert came_from(answer) == ("cheap", "both 1/2")
            assert asked(server) == ["cheap", "cheap"]
            assert answer.headers["content-type"] == plain.headers["content-type"]
            if kind == ("ollama" if path.startswith("/api/") else "openai"):
                assert answer.body == plain.body
        assert STEPS == [("both", 1, "cheap", True, None)]

    run(main())


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_failing_answer_leaves_no_trace(path: str, stream: bool, kind: FakeDialect) -> None:
    async def main() -> None:
        async with provider(kind, cheap=REFUSAL, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, path, body(path, stream=stream))
            assert answer.text == DEAR
            assert b"sorry" not in answer.body
            assert came_from(answer) == ("dear", "both 2/2")
            assert asked(server) == ["cheap", "dear"]
        assert STEPS == [("both", 1, "cheap", False, "the answer declines"), ("both", 2, "dear", True, None)]

    run(main())


def test_the_last_answer_is_not_checked() -> None:
    async def main() -> None:
        async with provider(cheap=REFUSAL, dear=REFUSAL) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT))
            assert answer.text == REFUSAL
            assert came_from(answer) == ("dear", "both 2/2")

    run(main())


def test_three_steps() -> None:
    async def main() -> None:
        check = CheckConfig(json=True)
        async with (
            provider(a="", b="no idea", c="{}", d="[]") as server,
            cascading(server, check, models=("a", "b", "c", "d")) as running,
        ):
            answer = await ask(running, CHAT, body(CHAT, stream=True))
            assert (answer.text, *came_from(answer)) == ("{}", "c", "both 3/4")
        assert [step[4] for step in STEPS] == ["the answer is empty", "the answer is no JSON", None]

    run(main())


def test_other_models_are_asked_as_ever() -> None:
    async def main() -> None:
        async with provider(cheap=REFUSAL, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, chat(model="cheap"))
            assert answer.text == REFUSAL
            assert "x-fairlead-cascade" not in answer.headers

    run(main())


# -- failures


@pytest.mark.parametrize("fate", [Fate.RESET, Fate.CUT, Fate.UNFINISHED, Fate.MALFORMED, Fate.ERROR_EVENT])
@pytest.mark.parametrize("stream", [False, True])
def test_a_step_that_breaks_is_a_step_that_fails(fate: Fate, stream: bool) -> None:
    async def main() -> None:
        broken = Reply(fate=fate) if stream or fate in (Fate.RESET, Fate.CUT, Fate.MALFORMED) else Reply(status=500)
        async with provider(cheap=broken, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT, stream=stream))
            assert (answer.status, answer.text) == (200, DEAR)
            assert answer.is_whole
            assert b"error" not in answer.body
            assert came_from(answer) == ("dear", "both 2/2")

    run(main())


def test_an_answer_that_cannot_be_read_fails() -> None:
    async def main() -> None:
        odd = b'data: {"choices":[{"index":0,"delta":{"content":7},"finish_reason":null}]}\n\n'
        last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        first = b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'
        cheap = Reply(body=first + odd + last)
        async with provider(cheap=cheap, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT, stream=True))
            assert answer.text == DEAR
        assert STEPS[0][4] == "the answer cannot be read"

    run(main())


def test_a_model_that_nobody_serves_is_passed_over() -> None:
    async def main() -> None:
        async with provider(dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT))
            assert answer.text == DEAR
        assert [step[:4] for step in STEPS] == [("both", 1, "cheap", False), ("both", 2, "dear", True)]

    run(main())


@pytest.mark.parametrize("status", [400, 422])
def test_a_wrong_request_goes_back_at_once(status: int) -> None:
    async def main() -> None:
        async with provider(cheap=Reply(status=status), dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT))
            assert answer.status == status
            assert asked(server) == ["cheap"]
        assert STEPS == [], "it says nothing of the cascade"

    run(main())


def test_a_failure_of_our_own_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with provider(cheap=REFUSAL, dear=DEAR) as server, cascading(server) as running:
            submit = running.orchestrator.submit

            def broken(call: Call, *rest: Any) -> Any:
                if call.model == "dear":
                    raise ZeroDivisionError
                return submit(call, *rest)

            monkeypatch.setattr(running.orchestrator, "submit", broken)
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            answer = await ask(running, CHAT, body(CHAT))
            assert answer.status == 500
            assert "could not be asked" in answer.json["error"]["message"]

    run(main())


def test_what_is_too_long_for_the_cheap_model_goes_on() -> None:
    async def main() -> None:
        said = b'{"error":{"message":"maximum context length exceeded","code":"context_length_exceeded"}}'
        too_long = Reply(status=400, body=said)
        async with provider(cheap=too_long, dear=DEAR) as server, cascading(server) as running:
            assert (await ask(running, CHAT, body(CHAT))).text == DEAR

    run(main())


def test_when_all_fail_the_last_error_goes_to_the_caller() -> None:
    async def main() -> None:
        busy, broken = Reply(status=503), Reply(status=500)
        async with provider(cheap=busy, dear=broken) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT, stream=True))
            assert answer.status == 500
            assert answer.headers["x-fairlead-model"] == "dear"
        assert [step[3] for step in STEPS] == [False, False]

    run(main())


@pytest.mark.parametrize("path", [EMBEDDING, "/v1/responses"])
def test_only_text_can_be_checked(path: str) -> None:
    async def main() -> None:
        async with provider(cheap=CHEAP, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, path, {"model": "both", "input": "x"})
            assert answer.status == 400
            assert "chats and completions" in answer.json["error"]["message"]
            assert server.attempts == 0

    run(main())


# -- time, load and callers that leave


@pytest.mark.parametrize("step", [1, 2])
def test_a_caller_that_leaves_ends_the_step_under_way(step: int) -> None:
    async def main() -> None:
        cheap = REFUSAL if step == 2 else Reply(fate=Fate.HOLD)
        async with provider(cheap=cheap, dear=Reply(fate=Fate.HOLD)) as server, cascading(server) as running:
            async with caller(running) as one:
                one.send("POST", CHAT, body(CHAT, stream=True))
                await until(lambda: server.attempts == step)
            await until(lambda: server.abandoned == 1)
            await asyncio.sleep(0.05)
            assert server.attempts == step

    run(main())


def test_callers_that_leave_at_any_moment_leave_nothing_behind() -> None:
    async def come_and_go(running: RunningGateway, draw: random.Random) -> None:
        async with caller(running) as one:
            path = draw.choice(PATHS)
            one.send("POST", path, body(path, stream=True))
            for _ in range(draw.randrange(60)):
                await asyncio.sleep(0)
            if draw.random() < 0.5:
                await one.head()
            one.hang_up(is_reset=draw.random() < 0.5)

    async def main() -> None:
        cheap = Reply(text=REFUSAL, pause_s=0.001)
        async with provider(cheap=cheap, dear=DEAR) as server, cascading(server, slots=20) as running:
            await asyncio.gather(*(come_and_go(running, random.Random(seed)) for seed in range(150)))
            await until(lambda: server.answering == 0)
            assert {"cheap", "dear"} == set(asked(server))

    run(main())


def test_a_step_gives_its_slot_back_before_the_next_is_asked() -> None:
    async def main() -> None:
        async with provider(cheap=REFUSAL, dear=DEAR) as server, cascading(server, slots=1) as running:
            answers = await asyncio.gather(*(ask(running, CHAT, body(CHAT, stream=True)) for _ in range(8)))
            assert [answer.text for answer in answers] == [DEAR] * 8
            assert server.peak_answering == 1

    run(main())


@pytest.mark.parametrize("cheap", [Reply(fate=Fate.HOLD), Reply(text=REFUSAL)])
def test_the_deadline_is_that_of_all_steps(cheap: Reply) -> None:
    async def main() -> None:
        async with provider(cheap=cheap, dear=Reply(fate=Fate.HOLD)) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT), headers={"x-fairlead-deadline-ms": "200"})
            assert answer.status == 504
            assert "deadline" in answer.json["error"]["message"]
            assert asked(server) == (["cheap"] if cheap.text is None else ["cheap", "dear"])

    run(main())


def test_so_is_the_limit_on_the_whole_answer() -> None:
    async def main() -> None:
        limits = Timeouts(connect_s=10.0, first_token_s=20.0, idle_s=20.0, total_s=0.6)
        async with (
            provider(cheap=Reply(text=REFUSAL, pause_s=0.02), dear=Reply(fate=Fate.HOLD)) as server,
            cascading(server, timeouts=limits) as running,
        ):
            answer = await ask(running, CHAT, body(CHAT, stream=True))
            assert answer.status == 504
            assert answer.headers["x-fairlead-model"] == "dear"
            assert asked(server) == ["cheap", "dear"]
            metrics = running.gateway._metrics
            assert metrics.requests["dear", "a", "unknown", Fault.CANCELLED] == 1, "the node is not to blame"

    run(main())


def test_a_slow_reader_makes_the_last_node_wait() -> None:
    text = "x" * (24 * 2**20)

    async def main() -> None:
        dear = Reply(text=text, pieces=240)
        async with (
            provider(cheap=REFUSAL, dear=dear) as server,
            cascading(server) as running,
            caller(running) as one,
        ):
            one.send("POST", CHAT, body(CHAT, stream=True))
            await one.head()
            (exchange,) = running.orchestrator.in_flight
            one.reader._transport.pause_reading()  # type: ignore[attr-defined]  # the stream itself would go on
            await until(lambda: exchange.attempt is not None and exchange.attempt._is_pressed, 10.0)
            one.reader._transport.resume_reading()  # type: ignore[attr-defined]
            size = 0
            while chunk := await one.chunk():
                size += len(chunk)
            assert size > len(text)

    run(main())


def test_what_a_step_costs_is_taken_off_the_limit() -> None:
    async def main() -> None:
        price = Price(input_usd_per_mtok=0.0, output_usd_per_mtok=1.0)  # the fake counts 7 tokens an answer
        models = tuple(ModelConfig(name=name, price=price) for name in ("cheap", "dear"))
        async with provider(cheap=REFUSAL, dear=DEAR) as server, cascading(server, models_=models) as running:
            for limit, is_enough in (("0.000012", False), ("0.000020", True)):
                headers = {"x-fairlead-max-cost-usd": limit}
                answer = await ask(running, CHAT, body(CHAT, max_tokens=10), headers=headers)
                assert (answer.status == 200) is is_enough
                assert is_enough or b"too expensive" in answer.body

    run(main())


def test_each_step_has_its_own_record() -> None:
    async def main() -> None:
        async with provider(cheap=REFUSAL, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT))
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")
            assert record.json["decision"]["chosen"]["model"] == "dear"
            metrics = (await ask(running, "/metrics")).body.decode()
            for model in ("cheap", "dear"):
                assert any("requests_total" in line and f'model="{model}"' in line for line in metrics.splitlines())

    run(main())


@pytest.mark.parametrize(
    ("cheap", "reason", "outline"),
    [
        ("no JSON", "the answer is no JSON", "the answer is no JSON"),
        ("{}", "{} says too little", "its plugin objects"),
        (Reply(status=503, body=b'{"error":{"message":"what of hello"}}'), "what of hello", "no whole answer came"),
    ],
)
def test_what_may_quote_a_prompt_is_left_out_of_a_record_and_only_that(
    cheap: Reply | str, reason: str, outline: str
) -> None:
    async def main() -> None:
        check = CheckConfig(json=True, plugin="taste")
        plugins = {"taste": lambda prompt, answer: f"{answer} says too little"}
        async with (
            provider(cheap=cheap, dear=DEAR) as server,
            cascading(server, check, plugins=plugins, retries=retries(max_attempts=1)) as running,
        ):
            await ask(running, CHAT, body(CHAT))
            first, second = running.gateway._recorder.decisions._records.values()
            for with_messages, said in ((True, reason), (False, outline)):
                told = render(first, with_messages=with_messages)["cascade"]
                assert told == {"step": "both 1/2", "not_taken_because": said}
                told = render(second, with_messages=with_messages)["cascade"]
                assert told == {"step": "both 2/2", "not_taken_because": None}

    run(main())


# -- streams


def test_the_last_step_streams_live() -> None:
    async def main() -> None:
        async with (
            provider(cheap=REFUSAL, dear=Reply(text=DEAR, fate=Fate.STALL)) as server,
            cascading(server) as running,
            caller(running) as one,
        ):
            one.send("POST", CHAT, body(CHAT, stream=True))
            assert (await one.head()).headers["x-fairlead-model"] == "dear"
            assert b"assistant" in await one.chunk()
            server.release()
            while chunk := await one.chunk():
                last = chunk
            assert b"[DONE]" in last

    run(main())


def test_a_held_step_arrives_in_one_piece() -> None:
    async def main() -> None:
        async with (
            provider(cheap=Reply(text=CHEAP, fate=Fate.STALL), dear=DEAR) as server,
            cascading(server) as running,
            caller(running) as one,
        ):
            one.send("POST", CHAT, body(CHAT, stream=True))
            head = asyncio.create_task(one.head())
            await until(lambda: server.answering == 1)
            await asyncio.sleep(0.05)
            assert not head.done()
            server.release()
            assert (await head).headers["x-fairlead-model"] == "cheap"
            assert b"[DONE]" in await one.chunk()

    run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", ["MAX_ANSWER_BYTES", "total"])
def test_what_is_too_long_to_hold_goes_out_unchecked(stream: bool, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        text = REFUSAL + "x" * 5000
        check = CheckConfig(json=True)  # which it would fail
        async with provider(cheap=Reply(text=text, pieces=50), dear=DEAR) as server:
            if limit == "total":
                monkeypatch.setattr(held_reply.Store, "take", lambda self, size: False)
            else:
                monkeypatch.setattr(held_reply, limit, 2000)
            async with cascading(server, check) as running:
                answer = await ask(running, CHAT, body(CHAT, stream=stream))
                assert answer.text == text
                assert answer.is_whole
                assert came_from(answer) == ("cheap", "both 1/2")
        assert STEPS == [("both", 1, "cheap", True, None)]

    run(main())


def test_one_too_long_that_breaks_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(held_reply, "MAX_ANSWER_BYTES", 1000)
        cut = Reply(text="x" * 5000, pieces=50, fate=Fate.CUT)
        async with provider(cheap=cut, dear=DEAR) as server, cascading(server) as running:
            answer = await ask(running, CHAT, body(CHAT, stream=True))
            assert not answer.is_whole
            assert "error" in answer.events[-1]
            assert asked(server) == ["cheap"]

    run(main())


# -- checks


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_is_no_empty_answer(stream: bool) -> None:
    async def main() -> None:
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        check = CheckConfig(json_schema={"type": "object", "required": ["x"]})
        async with provider(cheap=CHEAP, dear=DEAR) as server, cascading(server, check) as running:
            answer = await ask(running, CHAT, body(CHAT, stream=stream, tools=tools))
            assert b"get_weather" in answer.body
            assert came_from(answer) == ("cheap", "both 1/2")

    run(main())


def test_a_schema() -> None:
    async def main() -> None:
        check = CheckConfig(json_schema={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
        async with provider(cheap='{"n": "one"}', dear='{"n": 1}') as server, cascading(server, check) as running:
            assert (await ask(running, CHAT, body(CHAT))).text == '{"n": 1}'
        assert STEPS[0][4] == "the answer does not fit the schema: .n is no integer"

    run(main())


def test_a_plugin_judges_prompt_and_answer() -> None:
    async def main() -> None:
        seen = []

        def judge(prompt: str, answer: str) -> str | None:
            seen.append((prompt, answer))
            return "too cheap" if answer == CHEAP else None

        check = CheckConfig(plugin="taste")
        async with (
            provider(cheap=CHEAP, dear=DEAR) as server,
            cascading(server, check, plugins={"taste": judge}) as running,
        ):
            assert (await ask(running, CHAT, body(CHAT, "which one?"))).text == DEAR
        assert seen == [("which one?", CHEAP)]
        assert STEPS[0][4] == "too cheap"

    run(main())


def with_logprobs(path: str, logprob: float, *, stream: bool) -> bytes:
    """Return an answer as an OpenAI server gives it where log-probabilities were asked for."""
    told: dict[str, Any] = {"content": [{"token": "x", "logprob": logprob, "top_logprobs": []}]}
    said: dict[str, Any] = {"delta" if stream else "message": {"role": "assistant", "content": CHEAP}}
    if path == COMPLETION:
        told, said = {"tokens": ["x"], "token_logprobs": [logprob]}, {"text": CHEAP}
    choice = {"index": 0, **said, "logprobs": told, "finish_reason": None if stream else "stop"}
    answer: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 1, "model": "cheap"}
    if not stream:
        return json.dumps(answer | {"choices": [choice]}).encode()
    last = {"index": 0, "delta": {}, "text": "", "logprobs": None, "finish_reason": "stop"}
    events = [json.dumps(answer | {"choices": [one]}) for one in (choice, last)]
    return b"".join(b"data: %b\n\n" % event.encode() for event in [*events, "[DONE]"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_log_probabilities_are_asked_for_and_taken_out_again(path: str, stream: bool) -> None:
    async def main() -> None:
        check = CheckConfig(min_mean_logprob=-1.0)
        models = tuple(ModelConfig(name=name, capabilities=frozenset({"logprobs"})) for name in ("cheap", "dear"))
        node_path = COMPLETION if path == COMPLETION else CHAT  # an OpenAI node generates in chats
        for logprob, model in ((-0.5, "cheap"), (-1.5, "dear")):
            cheap = Reply(body=with_logprobs(node_path, logprob, stream=stream))
            async with (
                provider(cheap=cheap, dear=DEAR) as server,
                cascading(server, check, models_=models) as running,
            ):
                answer = await ask(running, path, body(path, stream=stream))
            assert answer.headers["x-fairlead-model"] == model
            assert answer.text == (CHEAP if model == "cheap" else DEAR)
            assert str(logprob).encode() not in answer.body
            assert server.requests[0].asked.fields["logprobs"] in (True, 1)
            if model == "dear":
                assert "logprobs" not in server.requests[1].asked.fields

    run(main())


@pytest.mark.parametrize("declared", [None, frozenset({"tools"})])
def test_log_probabilities_are_not_asked_of_a_model_that_may_not_know_them(declared: frozenset[str] | None) -> None:
    async def main() -> None:
        models = (ModelConfig(name="cheap", capabilities=declared),)
        async with provider(cheap=CHEAP, dear=DEAR) as server:
            async with cascading(server, CheckConfig(min_mean_logprob=-1.0), models_=models) as running:
                assert (await ask(running, CHAT, body(CHAT))).text == CHEAP
            assert "logprobs" not in server.requests[0].asked.fields

    run(main())


def test_a_caller_who_asks_for_log_probabilities_gets_them() -> None:
    async def main() -> None:
        cheap = Reply(body=with_logprobs(CHAT, -0.5, stream=False))
        async with provider(cheap=cheap, dear=DEAR) as server:
            async with cascading(server, CheckConfig(min_mean_logprob=-1.0)) as running:
                answer = await ask(running, CHAT, body(CHAT, logprobs=True))
            assert answer.json["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.5

    run(main())


# -- configuration


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([cascade(), cascade()], "two by the name 'both'"),
        ([cascade(None, "cheap", "both")], "is a cascade itself"),
        ([cascade(CheckConfig(json_schema={"typ": "object"}))], "keyword 'typ' is not understood"),
        ([cascade(CheckConfig(plugin="nobody's"))], "unknown check"),
    ],
)
def test_what_cannot_work_is_refused_at_once(settings: list[CascadeConfig], said: str) -> None:
    async def main() -> None:
        async with provider(cheap=CHEAP) as server, gateway(node(server)) as running:
            with pytest.raises(ConfigError, match=said):
                Cascades(running.orchestrator, settings)

    run(main())


@pytest.mark.parametrize("model", ["both", "cheap"])
@pytest.mark.parametrize(("total_s", "cheap"), [(0.4, Reply(fate=Fate.HOLD)), (0.05, Reply(status=503))])
def test_nothing_is_begun_without_time_left(model: str, total_s: float, cheap: Reply) -> None:
    async def main() -> None:
        limits = Timeouts(connect_s=10.0, first_token_s=20.0, idle_s=20.0, total_s=total_s)
        async with (
            provider(cheap=cheap, dear=DEAR) as server,
            cascading(server, timeouts=limits) as running,
        ):
            answer = await ask(running, CHAT, body(CHAT) | {"model": model})
            assert b"within 0.0 s" not in answer.body
            assert asked(server).count("cheap") == 1

    run(main())
