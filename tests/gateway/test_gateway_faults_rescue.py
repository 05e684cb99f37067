"""Answers that break in the middle: who finishes them, how, what the caller is told of it, and when nobody may."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from gateway_faults_shared import ANSWER, CALM, COMMON, FAVOURITE, PATIENT, PROMPT, error_of, is_complete, provider
from gateway_shared import CHAT, O_CHAT, Answer, ask, chat, gateway, node, run

from fairlead.config import NodeConfig
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.gateway import RunningGateway
from fairlead.testing.answers import Continues, FakeDialect, numbered
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.provider import FakeProvider

CUT = Reply(fate=Fate.CUT, pieces=8)
OTHERWISE = numbered(24, "in other words")


class Pair(msgspec.Struct):
    """A gateway before a node that breaks off, and one that may finish what it began."""

    running: RunningGateway
    bad: FakeProvider
    good: FakeProvider

    async def ask(
        self, path: str = CHAT, model: str = "m", headers: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        return await ask(self.running, path, chat(PROMPT, model, **({"stream": True} | more)), headers=headers)


@asynccontextmanager
async def pair(
    kind: FakeDialect = "openai",
    continuation: Continuation | None = None,
    continues: Continues = Continues.IGNORES,
    *,
    good_models: tuple[str, ...] = ("m",),
    **more: Any,
) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(provider(kind, CUT))
        good = await stack.enter_async_context(provider(kind, continues=continues, models=good_models))
        nodes: list[NodeConfig] = [
            node(bad, "bad", weight=FAVOURITE, timeouts=CALM),
            node(good, "good", timeouts=PATIENT, continuation=continuation),
        ]
        settings = {"strategy": "random", "timeouts": COMMON} | more
        yield Pair(await stack.enter_async_context(gateway(*nodes, **settings)), bad, good)


def note_of(answer: Answer, path: str) -> dict[str, Any]:
    """Return what the last pieces of an answer say of its rescue."""
    parts = answer.lines if path == O_CHAT else answer.events[:-1]
    notes = [part["fairlead"] for part in parts if part.get("fairlead", {}).get("rescued")]
    assert len(notes) == 1, "it is said once"
    return dict(notes[0])


def is_told(answer: Answer, path: str = CHAT) -> bool:
    """Tell whether the caller knows that the answer broke."""
    return not is_complete(answer, path, stream=True) and bool(error_of(answer, path)) and b"[DONE]" not in answer.body


WAYS = (
    (None, Continues.IGNORES, "spliced"),
    (Continuation.NONE, Continues.IGNORES, "spliced"),
    (Continuation.TRAILING, Continues.TRAILING, "continued"),
    (Continuation.TRAILING, Continues.RESTATES, "spliced"),
    (Continuation.CONTINUE_FINAL, Continues.CONTINUE_FINAL, "continued"),
    (Continuation.PREFIX, Continues.PREFIX, "continued"),
)


OLLAMAS = (Continues.IGNORES, Continues.TRAILING, Continues.RESTATES)
"""What a node without fields for it can make of the beginning of an answer."""
KINDS: tuple[FakeDialect, ...] = ("openai", "ollama")


@pytest.mark.parametrize(
    ("kind", "continuation", "continues", "how"),
    [(kind, *way) for kind in KINDS for way in WAYS if kind == "openai" or way[1] in OLLAMAS],
)
@pytest.mark.parametrize("path", [CHAT, O_CHAT])
def test_the_caller_reads_one_unbroken_answer_and_how_it_came_about(
    path: str, kind: FakeDialect, continuation: Continuation | None, continues: Continues, how: str
) -> None:
    async def main() -> None:
        async with pair(kind, continuation, continues) as it:
            answer = await it.ask(path)
            assert answer.text == ANSWER
            assert is_complete(answer, path, stream=True)
            note = note_of(answer, path)
            assert (note["rescued"], note["how"], note["node"]) == (True, how, "good")
            assert "model" not in note, "it is the same one"
            asked = 2 if continues is Continues.RESTATES else 1  # what it said again it may have meant
            assert (it.bad.attempts, it.good.attempts) == (1, asked)

    run(main())


def test_a_node_that_rejects_beginnings_says_it_anew_and_is_given_no_beginning_again() -> None:
    async def main() -> None:
        async with pair(continuation=Continuation.TRAILING, continues=Continues.REJECTS) as it:
            for asked in (2, 3):
                answer = await it.ask()
                assert answer.text == ANSWER
                assert note_of(answer, CHAT)["how"] == "spliced"
                assert it.good.attempts == asked

    run(main())


def test_a_node_that_goes_on_in_other_words_is_told_apart_from_one_that_begins_in_them() -> None:
    async def main() -> None:
        async with pair(continuation=Continuation.TRAILING, continues=Continues.TRAILING) as it:
            it.good.says = OTHERWISE
            answer = await it.ask()
            kept = len(_common(ANSWER, answer.text))
            assert 0 < kept < len(ANSWER)
            assert answer.text[kept:] == OTHERWISE(PROMPT)[kept:], "its own words, from where the other stopped"
        async with pair() as it:
            it.good.says = OTHERWISE
            answer = await it.ask()
            assert is_told(answer)
            assert ANSWER.startswith(answer.text), "not a word of an answer that does not fit"

    run(main())


def test_who_wants_it_gets_another_answer_from_the_start() -> None:
    async def main() -> None:
        async with pair() as it:
            it.good.says = OTHERWISE
            answer = await it.ask(headers={"x-fairlead-rescue": "same_model, restart"})
            assert is_complete(answer, CHAT, stream=True)
            assert note_of(answer, CHAT)["how"] == "restarted"
            before, marker, after = answer.body.partition(b'"fairlead":{"restarted":true}')
            assert marker, "the caller is told to forget what came before"
            assert b"1." in before
            assert answer.text.endswith(OTHERWISE(PROMPT))
            assert b"1." in after

    run(main())


def test_nobody_finishes_it_where_the_caller_or_the_configuration_wants_that() -> None:
    async def main() -> None:
        async with pair() as it:
            assert is_told(await it.ask(headers={"x-fairlead-rescue": "none"}))
            assert it.good.attempts == 0
            assert (await it.ask(headers={"x-fairlead-rescue": "all"})).status == 400
        async with pair(rescue=Rescue.NONE) as it:
            assert is_told(await it.ask())
            assert (await it.ask(headers={"x-fairlead-rescue": "same_model"})).text == ANSWER

    run(main())


def test_another_model_only_where_that_is_wanted_and_then_it_is_said() -> None:
    async def main() -> None:
        groups = {"any": ("m", "n")}
        async with pair(good_models=("n",), groups=groups) as it:
            assert is_told(await it.ask(model="m"))
            it.bad.choose = lambda request: CUT
            wish = {"x-fairlead-rescue": "any_model"}
            for _ in range(12):
                answer = await it.ask(model="any", headers=wish)
                assert answer.text == ANSWER
                if answer.headers["x-fairlead-node"] == "bad":
                    assert note_of(answer, CHAT)["model"] == "n"
                    break
            else:
                pytest.fail("the node that breaks off was never asked")

    run(main())


@pytest.mark.parametrize(
    "asked",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
    ],
    ids=["several answers", "logprobs", "a tool call", "a schema"],
)
def test_what_cannot_be_finished_honestly_ends_in_an_error(asked: dict[str, Any]) -> None:
    async def main() -> None:
        async with pair() as it:
            answer = await it.ask(**asked)
            assert answer.status == 200
            assert is_told(answer)
            assert it.good.attempts == 0

    run(main())


def test_an_answer_breaks_and_its_rescuer_too_and_a_third_node_finishes_it() -> None:
    async def main() -> None:
        async with provider(reply=CUT) as one, provider(reply=CUT) as two, provider() as three:
            nodes = [
                node(one, "one", weight=FAVOURITE, timeouts=PATIENT),
                node(two, "two", weight=FAVOURITE, timeouts=PATIENT),
                node(three, "three", weight=1e-9, timeouts=PATIENT),
            ]
            async with gateway(*nodes, strategy="random", timeouts=COMMON) as running:
                answer = await ask(running, CHAT, chat(PROMPT, stream=True))
                assert answer.text == ANSWER
                assert is_complete(answer, CHAT, stream=True)
                assert note_of(answer, CHAT)["node"] == "three"
                assert (one.attempts, two.attempts, three.attempts) == (1, 1, 1)

    run(main())


@pytest.mark.parametrize("reply", [CUT, Reply(status=503), Reply(fate=Fate.RESET)], ids=["cut", "503", "reset"])
def test_a_failed_attempt_is_not_billed(reply: Reply) -> None:
    async def main() -> None:
        async with pair() as it:
            it.bad.default = reply
            answer = await it.ask(stream_options={"include_usage": True})
            assert answer.text == ANSWER
            pairs = it.running.gateway._metrics.pairs
            assert ("m", "bad") not in pairs
            used = pairs["m", "good"]
            told = [event["usage"] for event in answer.events[:-1] if event.get("usage")]
            assert [(one["prompt_tokens"], one["completion_tokens"]) for one in told] == [
                (used.input_tokens, used.output_tokens)
            ]
            failures = it.running.gateway._metrics.failed_attempts
            assert sum(failures.values()) == sum(count for (name, _), count in failures.items() if name == "bad") == 1

    run(main())


def _common(one: str, other: str) -> str:
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:at]
