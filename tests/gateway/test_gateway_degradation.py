"""The ladder of graceful degradation on a running gateway: what each step does to calls, when, and when it is over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from gateway_faults_shared import ANSWER, COMMON, FAVOURITE, PATIENT, PROMPT, provider
from gateway_shared import (
    CHAT,
    EMBEDDING,
    O_CHAT,
    O_GENERATE,
    ask,
    chat,
    gateway,
    node,
    run,
    until,
)

from fairlead.clock import steady_s
from fairlead.config import LoadBalancerConfig, ModelConfig, RoutingConfig
from fairlead.dialects.contract import Call, Dialect, Operation
from fairlead.domain import Price, TaskCategory
from fairlead.engine.decision import Decision
from fairlead.engine.events import DegradationChanged
from fairlead.gateway import RunningGateway
from fairlead.health.config import DegradationConfig, HedgingConfig, Step
from fairlead.health.ladder import STEPS
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.provider import FakeProvider

SHORT = 64
HOLD_S = 10.0
LADDER = DegradationConfig(max_output_tokens=SHORT, hold_s=HOLD_S)
HOLD = Reply(fate=Fate.HOLD)
BATCH = {"x-fairlead-priority": "batch"}


PassTime = Callable[[float], Awaitable[None]]
CALL = Call(Dialect.OPENAI, Operation.CHAT, CHAT, b"{}", "m", stream=False, prompt="hello there")


class Skewed:
    """A clock that can be put forward, so that a fleet's minutes pass in no time."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return steady_s() + self.ahead_s


def press(running: RunningGateway, last: Step | None) -> None:
    """Let the pressure be such that this step is the last one taken; none where none is named."""
    degrading = running.orchestrator.degrading
    level = 0 if last is None else STEPS.index(last) + 1
    now_s = running.orchestrator.clock()
    if level >= len(degrading.ladder.given_up):
        degrading.climb(LADDER.begin_at + (1.0 - LADDER.begin_at) * (level - 1) / (len(STEPS) - 1), now_s)
    while len(degrading.ladder.given_up) > level:
        degrading.climb(0.0, now_s)
        now_s += LADDER.hold_s
    assert degrading.ladder.given_up == STEPS[:level]


@asynccontextmanager
async def pressed(one: FakeProvider, last: Step | None, **more: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway before one node, under a pressure that nothing but the test changes."""
    async with gateway(node(one, **more.pop("node", {})), degradation=LADDER, **more) as running:
        let_alone(running)
        press(running, last)
        yield running


def let_alone(running: RunningGateway) -> None:
    """Let the gateway itself review nothing any more."""
    running.orchestrator.fleet.health._review_at_s = float("inf")


def body_of(one: FakeProvider) -> Any:
    return msgspec.json.decode(one.requests[-1].body)


def decided(running: RunningGateway) -> Decision:
    """Decide once more, and give the lease back at once."""
    orchestrator = running.orchestrator
    decision = orchestrator.fleet.decide(orchestrator.task_of(CALL), orchestrator.clock())
    orchestrator.fleet.settle(decision.lease, decision.candidate, None, orchestrator.clock())
    return decision


# -- hedging


@pytest.mark.parametrize("last", [None, Step.HEDGING])
def test_no_second_node_is_asked(last: Step | None) -> None:
    hedging = HedgingConfig(enabled=True, quantile=0.5, budget=1.0, min_outcomes=2)

    async def main() -> None:
        async with provider() as first, provider() as second:
            nodes = node(first, "first", weight=FAVOURITE, timeouts=PATIENT), node(second, "second", timeouts=PATIENT)
            more: dict[str, Any] = {"strategy": "random", "timeouts": COMMON, "hedging": hedging}
            async with gateway(*nodes, degradation=LADDER, **more) as running:
                let_alone(running)
                press(running, last)
                for _ in range(4):
                    running.orchestrator.hedger.observe(("m", "first"), 0.05)
                    running.orchestrator.hedger.deposit()
                first.default = Reply(late_s=0.5)
                assert (await ask(running, CHAT, chat(PROMPT, stream=True))).text == ANSWER
                assert second.attempts == (last is None)
                press(running, None)
                assert (await ask(running, CHAT, chat(PROMPT, stream=True))).text == ANSWER
                assert second.attempts >= 1, "it is taken up again"

    run(main())


# -- exploration


def test_nobody_is_asked_to_learn_about_it_and_the_chances_told_are_true() -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two, FakeProvider() as three:
            nodes = [node(provider, name) for provider, name in ((one, "a"), (two, "b"), (three, "c"))]
            async with gateway(*nodes, strategy="performance", exploration=0.3, degradation=LADDER) as running:
                let_alone(running)
                for _ in range(30):
                    await ask(running, CHAT, chat())
                for last, explores in ((None, True), (Step.EXPLORATION, False), (None, True)):
                    press(running, last)
                    answers = [await ask(running, CHAT, chat()) for _ in range(10)]
                    pages = [answer.headers["x-fairlead-decision"] for answer in answers]
                    told = [(await ask(running, f"/v1/decisions/{one}")).json["decision"] for one in pages]
                    assert explores or not any(one["explored"] for one in told)
                    drawn = [decided(running) for _ in range(1500)]
                    assert any(decision.is_explored for decision in drawn) is explores
                    counts = Counter(decision.candidate.node.name for decision in drawn)
                    said = {decision.candidate.node.name: decision.propensity for decision in drawn}
                    for name, chance in said.items():
                        assert chance is not None
                        assert counts[name] / len(drawn) == pytest.approx(chance, abs=0.05), (last, name)

    run(main())


# -- a cheaper model


ROUTING = RoutingConfig(quality=0.9, explore_min=0.0, explore_max=0.0)


def models() -> tuple[ModelConfig, ...]:
    """Return one that is good and dear, and one that is passable and cheap."""
    good, passable = (dict.fromkeys(TaskCategory, skill) for skill in (0.95, 0.6))
    dear, cheap = Price(input_usd_per_mtok=5.0, output_usd_per_mtok=15.0), Price(input_usd_per_mtok=0.05)
    return ModelConfig(name="good", skill=good, price=dear), ModelConfig(name="cheap", skill=passable, price=cheap)


def test_who_leaves_the_model_open_and_says_nothing_of_quality_gets_the_cheaper_one() -> None:
    async def main() -> None:
        both = FakeProvider(models=("good", "cheap"))
        async with both, pressed(both, None, models=models(), routing=ROUTING) as running:

            async def asked(model: str = "auto", **headers: str) -> str:
                told = {name.replace("_", "-"): value for name, value in headers.items()}
                answers = [await ask(running, CHAT, chat(model=model), headers=told) for _ in range(5)]
                return Counter(answer.headers["x-fairlead-model"] for answer in answers).most_common(1)[0][0]

            assert [await asked("good"), await asked("cheap")] == ["good", "cheap"], "both are known alike"
            assert await asked() == "good"
            press(running, Step.CHEAPER_MODEL)
            assert await asked() == "cheap"
            assert await asked(x_fairlead_quality="1") == "good", "who asks for quality gets it"
            assert await asked("good") == "good", "who names a model gets it"
            press(running, Step.EXPLORATION)
            assert await asked() == "good"

    run(main())


# -- shorter answers


@pytest.mark.parametrize("stream", [True, False])
def test_answers_are_cut_where_the_caller_set_no_limit(stream: bool) -> None:
    async def main() -> None:
        async with FakeProvider() as one, pressed(one, Step.SHORTER_ANSWERS) as running:
            for path, body in (
                (CHAT, chat(stream=stream)),
                (O_CHAT, chat(stream=stream)),
                (O_GENERATE, {"model": "m", "prompt": "hello", "stream": stream}),
            ):
                assert (await ask(running, path, body)).status == 200
                assert body_of(one)["max_tokens"] == SHORT, path
            for path, body in (
                (CHAT, chat(stream=stream, max_tokens=1000)),
                (CHAT, chat(stream=stream, max_completion_tokens=1000)),
                (O_CHAT, chat(stream=stream, options={"num_predict": 1000})),
            ):
                assert (await ask(running, path, body)).status == 200
                sent = body_of(one)
                assert {sent.get("max_tokens"), sent.get("max_completion_tokens")} == {1000, None}, path
            assert (await ask(running, EMBEDDING, {"model": "m", "input": "hello"})).status == 200
            assert "max_tokens" not in body_of(one)
            press(running, Step.CHEAPER_MODEL)
            assert (await ask(running, CHAT, chat(stream=stream))).status == 200
            assert "max_tokens" not in body_of(one), "no longer"

    run(main())


def test_a_node_that_speaks_ollama_is_told_the_limit_in_its_own_words() -> None:
    async def main() -> None:
        async with FakeProvider("ollama") as one, pressed(one, Step.SHORTER_ANSWERS) as running:
            for path in (CHAT, O_CHAT):
                assert (await ask(running, path, chat(stream=True))).status == 200
                assert body_of(one)["options"]["num_predict"] == SHORT

    run(main())


# -- a part of the nodes is kept


def test_normal_work_waits_for_the_last_part_of_a_node_and_interactive_work_does_not() -> None:
    async def main() -> None:
        ceiling = LoadBalancerConfig(max_node_utilization=0.5)
        async with FakeProvider() as one:
            one.default = HOLD
            async with pressed(one, None, node={"slots": 4}, load_balancer=ceiling) as running:
                account = running.orchestrator.fleet.nodes["a"].account
                asking = [asyncio.create_task(ask(running, CHAT, chat())) for _ in range(3)]
                await until(lambda: account.in_flight == 3)
                press(running, Step.QUEUE)
                waits = asyncio.create_task(ask(running, CHAT, chat()))
                await until(lambda: len(running.orchestrator.lobby.queue) == 1)
                urgent = {"x-fairlead-priority": "interactive"}
                goes = asyncio.create_task(ask(running, CHAT, chat(), headers=urgent))
                await until(lambda: account.in_flight == 4)
                assert len(running.orchestrator.lobby.queue) == 1
                one.release()
                answers = await asyncio.gather(*asking, waits, goes)
                assert {answer.status for answer in answers} == {200}, "who waited has its turn"

    run(main())


# -- batch work is refused


def test_batch_work_is_refused_where_it_would_wait_and_told_when_to_come_again() -> None:
    async def main() -> None:
        async with FakeProvider() as one, pressed(one, Step.QUEUE, node={"slots": 1}) as running:
            queue = running.orchestrator.lobby.queue
            one.default = HOLD
            first = asyncio.create_task(ask(running, CHAT, chat()))
            await until(lambda: one.answering == 1)
            waits = asyncio.create_task(ask(running, CHAT, chat(), headers=BATCH))
            await until(lambda: len(queue) == 1)
            press(running, Step.REFUSE)
            for path in (CHAT, O_CHAT):
                refused = await asyncio.wait_for(ask(running, path, chat(), headers=BATCH), 5.0)
                assert refused.status == 429
                assert float(refused.headers["retry-after"]) >= 1
            normal = asyncio.create_task(ask(running, CHAT, chat()))
            await until(lambda: len(queue) == 2)
            press(running, Step.QUEUE)
            later = asyncio.create_task(ask(running, CHAT, chat(), headers=BATCH))
            await until(lambda: len(queue) == 3)
            one.release()
            answers = await asyncio.gather(first, waits, normal, later)
            assert [answer.status for answer in answers] == [200] * 4
            assert one.attempts == 4

    run(main())


# -- what the gateway does by itself


@asynccontextmanager
async def by_itself(
    *, nodes: int, slots: int = 2
) -> AsyncIterator[tuple[RunningGateway, list[FakeProvider], PassTime, list[tuple[str, str]]]]:
    """Run a gateway whose clock can be put forward; also gives what it says of the ladder."""
    providers = [FakeProvider() for _ in range(nodes)]
    for one in providers:
        await one.start()
    try:
        served = [node(one, f"n{i}", slots=slots) for i, one in enumerate(providers)]
        async with gateway(*served, degradation=LADDER) as running:
            clock = Skewed()
            orchestrator, changes = running.orchestrator, []
            orchestrator.clock = clock

            def note(one: DegradationChanged) -> None:
                changes.append((one.before, one.after))

            orchestrator.bus.subscribe(DegradationChanged, note)

            async def pass_time(seconds: float) -> None:
                clock.ahead_s += seconds
                now_s = clock()
                await until(lambda: orchestrator.fleet.health._review_at_s > now_s)
                await asyncio.sleep(0)

            yield running, providers, pass_time, changes
    finally:
        for one in providers:
            await one.stop()


def test_an_idle_fleet_gives_nothing_up_whatever_it_has_lost() -> None:
    async def main() -> None:
        async with by_itself(nodes=3) as (running, _, pass_time, changes):
            for lost in ("n0", "n1"):
                await pass_time(20.0)
                running.orchestrator.change_node(lost, "drain")
            await pass_time(20.0)
            assert changes == []

    run(main())


def test_a_busy_laptop_gives_up_hedging_and_nothing_else() -> None:
    async def main() -> None:
        async with by_itself(nodes=1) as (running, (one,), pass_time, changes):
            one.default = HOLD
            asking = [asyncio.create_task(ask(running, CHAT, chat())) for _ in range(6)]
            await until(lambda: len(running.orchestrator.lobby.queue) == 4)
            for _ in range(4):
                await pass_time(4.0)
            assert changes == [("nothing", "hedging")]
            one.default = Reply()
            one.release()
            assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
            await pass_time(20.0)
            await pass_time(HOLD_S)
            assert changes == [("nothing", "hedging"), ("hedging", "nothing")]

    run(main())


def test_a_fleet_that_lost_half_and_is_full_gives_up_more_and_takes_it_back_step_by_step() -> None:
    async def main() -> None:
        async with by_itself(nodes=2) as (running, (one, two), pass_time, changes):
            one.default = two.default = HOLD
            asking = [asyncio.create_task(ask(running, CHAT, chat())) for _ in range(4)]
            await until(lambda: one.answering + two.answering == 4)
            running.orchestrator.change_node("n1", "drain")
            for _ in range(3):
                await pass_time(15.0)
            given_up = running.orchestrator.degrading.ladder.given_up
            assert given_up == STEPS[:3]
            assert changes[0][0] == "nothing"
            assert changes[-1][1] == given_up[-1].value
            assert "fairlead_degradation_step 3.0" in (await ask(running, "/metrics")).body.decode()
            one.release()
            two.release()
            await asyncio.gather(*asking)
            changes.clear()
            await pass_time(30.0)
            assert changes == [], "not at once"
            for _ in range(6):
                await pass_time(HOLD_S)
            assert changes == [
                ("cheaper_model", "exploration"),
                ("exploration", "hedging"),
                ("hedging", "nothing"),
            ]

    run(main())
