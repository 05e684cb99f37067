"""A late first token: a second node is asked as well, the first of the two to speak is the answer, the other stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from gateway_faults_shared import ANSWER, COMMON, FAVOURITE, PATIENT, PROMPT, error_of, is_complete, provider
from gateway_shared import (
    CHAT,
    O_CHAT,
    Answer,
    Caller,
    ask,
    caller,
    chat,
    gateway,
    is_at_rest,
    node,
    retries,
    run,
    until,
)

from fairlead.config import LoadBalancerConfig
from fairlead.engine.events import FailedOver, Hedged
from fairlead.engine.hedging import KEPT
from fairlead.gateway import RunningGateway
from fairlead.health import Circuit
from fairlead.health.config import DegradationConfig, HedgingConfig
from fairlead.testing.answers import FakeDialect
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.provider import FakeProvider

HEDGING = HedgingConfig(enabled=True, quantile=0.9, budget=1.0, min_outcomes=4)
HOLD = Reply(fate=Fate.HOLD)
LEARNT = 6
"""Requests from which the times of the first choice are known."""
LATE_S = 0.15
SOON_S = 6.0


class Race(msgspec.Struct):
    """A gateway before two nodes; the first is asked first, and its times are known."""

    running: RunningGateway
    first: FakeProvider
    second: FakeProvider
    hedges: list[Hedged]
    others: list[FailedOver]

    async def ask(self, path: str = CHAT, *, stream: bool = True, **more: Any) -> Answer:
        return await asyncio.wait_for(ask(self.running, path, chat(PROMPT, stream=stream), **more), SOON_S)

    async def both_asked(self) -> None:
        await until(lambda: self.first.answering == 1 and self.second.answering == 1)

    def leases(self) -> int:
        return len(self.running.orchestrator.fleet.ledger)

    def totals(self, name: str) -> tuple[int, int]:
        totals = self.running.orchestrator.fleet.models["m"][name].totals
        return totals.succeeded, totals.failed


@asynccontextmanager
async def race(kind: FakeDialect = "openai", hedging: HedgingConfig = HEDGING, **more: Any) -> AsyncIterator[Race]:
    async with provider(kind) as first, provider(kind) as second:
        nodes = node(first, "first", weight=FAVOURITE, timeouts=PATIENT), node(second, "second", timeouts=PATIENT)
        settings = {"strategy": "random", "timeouts": COMMON, "hedging": hedging} | more
        async with gateway(*nodes, **settings) as running:
            it = Race(running, first, second, [], [])
            running.orchestrator.bus.subscribe(Hedged, it.hedges.append)
            running.orchestrator.bus.subscribe(FailedOver, it.others.append)
            hedger = running.orchestrator.hedger
            hedger.is_off = True  # while times are learnt, nothing is to be late
            for _ in range(LEARNT):
                assert (await it.ask()).text == ANSWER
            assert second.attempts == 0
            hedger.is_off = not hedging.enabled
            assert (hedger.delay_s(("m", "first")) is None) is hedger.is_off, "it has learnt when a token is late"
            for _ in range(KEPT):  # what is late here on a busy machine too
                hedger.observe(("m", "first"), LATE_S)
            for _ in range(LEARNT if hedging.budget else 0):
                hedger.deposit()
            yield it


def fail_now(one: FakeProvider) -> None:
    """Let a node that holds its answer back fail; what is sent anew on another connection fails too."""
    one.default = Reply(status=503)
    for wire in tuple(one.wires):
        wire.drop()


async def page(running: RunningGateway) -> dict[str, float]:
    lines = (await ask(running, "/metrics")).body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def tokens(read: dict[str, float]) -> float:
    return sum(value for name, value in read.items() if name.startswith("fairlead_tokens_total"))


@pytest.mark.parametrize(("kind", "path"), [("openai", CHAT), ("ollama", O_CHAT)])
def test_the_second_node_speaks_first(kind: FakeDialect, path: str) -> None:
    async def main() -> None:
        async with race(kind) as it:
            before = await page(it.running)
            it.first.default = HOLD
            answer = await it.ask(path)
            assert answer.text == ANSWER
            assert is_complete(answer, path, stream=True)
            assert answer.headers["x-fairlead-node"] == "second"
            await until(lambda: it.first.abandoned == 1)
            (told,) = it.hedges
            assert (told.node, told.to_node) == ("first", "second")
            assert told.after_s == LATE_S
            assert (it.totals("first"), it.totals("second")) == ((LEARNT, 0), (1, 0)), "who was late is not blamed"
            assert not it.others
            after = await page(it.running)
            assert tokens(after) - tokens(before) == pytest.approx(tokens(before) / LEARNT), "one answer is billed"
            assert after['fairlead_hedges_total{won="true"}'] == 1
            assert sum(v for k, v in after.items() if k.startswith("fairlead_requests_total")) == LEARNT + 1

    run(main())


def test_the_first_node_speaks_first_after_all() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = HOLD
            it.second.default = Reply(fate=Fate.SILENT)
            asking = asyncio.create_task(it.ask())
            await it.both_asked()
            assert it.leases() == 2
            it.first.release()
            answer = await asking
            assert answer.text == ANSWER
            assert answer.headers["x-fairlead-node"] == "first"
            await until(lambda: it.second.abandoned == 1)
            assert (await page(it.running))['fairlead_hedges_total{won="false"}'] == 1
            assert it.totals("second") == (0, 0)

    run(main())


def test_the_race_is_over_with_the_first_token_whoever_would_finish_sooner() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = HOLD
            it.second.default = Reply(pause_s=0.05)
            asking = asyncio.create_task(it.ask())
            await until(lambda: it.first.abandoned == 1)
            assert it.leases() == 1, "the loser's is given back while the winner still speaks"
            answer = await asking
            assert answer.text == ANSWER
            assert answer.headers["x-fairlead-node"] == "second"

    run(main())


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(fate=Fate.RESET), Reply(fate=Fate.MALFORMED, share=0.0)])
def test_the_second_node_fails_and_the_first_goes_on(reply: Reply) -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = HOLD
            it.second.default = reply
            asking = asyncio.create_task(it.ask())
            await until(lambda: it.totals("second") == (0, 1))
            await until(lambda: it.leases() == 1)
            it.first.release()
            answer = await asking
            assert answer.text == ANSWER
            assert answer.headers["x-fairlead-node"] == "first"
            assert it.second.attempts == 1, "it is not asked again"

    run(main())


def test_the_first_node_fails_and_the_second_goes_on() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = HOLD
            it.second.default = HOLD
            asking = asyncio.create_task(it.ask())
            await it.both_asked()
            fail_now(it.first)
            await until(lambda: it.totals("first") == (LEARNT, 1))
            it.second.release()
            answer = await asking
            assert answer.text == ANSWER
            assert answer.headers["x-fairlead-node"] == "second"
            assert len(it.hedges) == 1

    run(main())


def test_both_fail_and_the_caller_is_told() -> None:
    async def main() -> None:
        async with race(retries=retries(max_attempts=1)) as it:
            it.first.default = HOLD
            it.second.default = HOLD
            asking = asyncio.create_task(it.ask())
            await it.both_asked()
            fail_now(it.second)
            await until(lambda: it.leases() == 1)
            fail_now(it.first)
            answer = await asking
            assert answer.status == 503
            assert error_of(answer, CHAT)
            assert (it.totals("first"), it.totals("second")) == ((LEARNT, 1), (0, 1))

    run(main())


def test_a_caller_who_hangs_up_stops_both() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = it.second.default = HOLD
            async with caller(it.running) as one:
                one.send("POST", CHAT, chat(PROMPT, stream=True))
                await it.both_asked()
                one.hang_up()
                await until(lambda: it.first.abandoned == it.second.abandoned == 1)
            await until(lambda: is_at_rest(it.running))
            assert (it.totals("first"), it.totals("second")) == ((LEARNT, 0), (0, 0))

    run(main())


def test_an_answer_that_is_not_streamed_is_never_asked_for_twice() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = Reply(late_s=0.5)
            answer = await it.ask(stream=False)
            assert answer.text == ANSWER
            assert (it.second.attempts, it.hedges) == (0, [])

    run(main())


def test_an_answer_that_has_begun_is_never_asked_for_twice() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = Reply(pieces=4, pause_s=0.1)
            assert (await it.ask()).text == ANSWER
            assert (it.second.attempts, it.hedges) == (0, [])

    run(main())


@pytest.mark.parametrize("hedging", [HedgingConfig(), HedgingConfig(enabled=True, budget=0.0, min_outcomes=4)])
def test_nothing_is_asked_twice_where_hedging_is_off_or_costs_too_much(hedging: HedgingConfig) -> None:
    async def main() -> None:
        async with race(hedging=hedging) as it:
            it.first.default = Reply(late_s=0.5)
            assert (await it.ask()).text == ANSWER
            assert (it.second.attempts, it.hedges) == (0, [])

    run(main())


def test_a_lone_node_is_not_asked_twice_and_pays_nothing_for_it() -> None:
    async def main() -> None:
        lone = provider()
        await lone.start()
        async with gateway(node(lone, "lone", timeouts=PATIENT), timeouts=COMMON, hedging=HEDGING) as running:
            for _ in range(LEARNT):
                await ask(running, CHAT, chat(PROMPT, stream=True))
            saved_up = running.orchestrator.hedger._tokens
            lone.default = Reply(late_s=0.3)
            assert (await ask(running, CHAT, chat(PROMPT, stream=True))).text == ANSWER
            assert lone.attempts == LEARNT + 1
            assert running.orchestrator.hedger._tokens == saved_up + HEDGING.budget
        await lone.stop()

    run(main())


def test_over_many_requests_hedges_stay_below_their_share() -> None:
    share, count = 0.2, 40

    async def main() -> None:
        async with race(hedging=HedgingConfig(enabled=True, quantile=0.5, budget=share, min_outcomes=4)) as it:
            spent_before = it.running.orchestrator.hedger._tokens
            it.first.default = Reply(late_s=0.2)
            for _ in range(count // 8):
                answers = await asyncio.gather(*(it.ask() for _ in range(8)))
                assert {answer.text for answer in answers} == {ANSWER}
            assert 1 <= len(it.hedges) <= share * count + spent_before
            assert it.second.attempts <= len(it.hedges), "some are stopped before they are sent"

    run(main())


def test_a_node_that_is_often_too_late_opens_no_circuit() -> None:
    async def main() -> None:
        async with race() as it:
            it.first.default = HOLD
            for _ in range(LEARNT):
                assert (await it.ask()).headers["x-fairlead-node"] == "second"
            await until(lambda: it.first.abandoned == LEARNT)
            assert it.running.orchestrator.fleet.nodes["first"].breaker.state is Circuit.CLOSED

    run(main())


def test_what_was_to_be_hedged_on_a_node_that_was_given_up_is_not_hedged_on_the_next() -> None:
    hedging = HedgingConfig(enabled=True, budget=1.0, min_outcomes=2)
    batch = {"x-fairlead-priority": "batch"}

    async def main() -> None:
        async with provider(reply=HOLD) as first, provider(reply=HOLD) as second, AsyncExitStack() as stack:
            nodes = (
                node(first, "first", weight=FAVOURITE, timeouts=PATIENT, slots=1),
                node(second, "second", timeouts=PATIENT, slots=1),
            )
            settings: dict[str, Any] = {
                "strategy": "random",
                "timeouts": COMMON,
                "hedging": hedging,
                "degradation": DegradationConfig(steps=()),
                "load_balancer": LoadBalancerConfig(max_node_utilization=1.0),
            }
            running = await stack.enter_async_context(gateway(*nodes, **settings))
            hedger = running.orchestrator.hedger
            for _ in range(2):
                hedger.observe(("m", "second"), 0.4)
                hedger.deposit()

            async def begin(**headers: str) -> Caller:
                one = await stack.enter_async_context(caller(running))
                one.send("POST", CHAT, chat(PROMPT, stream=True), headers)
                return one

            holds = await begin(**batch)
            await until(lambda: first.answering == 1)
            gives_way = await begin(**batch)
            await until(lambda: second.answering == 1)
            urgent = await begin()
            await until(lambda: second.abandoned == 1)
            await until(lambda: second.attempts == 2)
            holds.hang_up()
            await until(lambda: first.attempts == 2)
            urgent.hang_up()
            await until(lambda: second.abandoned == 2)
            await asyncio.sleep(0.5)  # what was due for the node that it left would have come by now
            assert (first.attempts, second.attempts) == (2, 2)
            first.release()
            assert (await gives_way.answer()).headers["x-fairlead-node"] == "first"

    run(main())
