"""Limits on waiting: which level says what, what counts as progress, and how long a call may last at most."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from gateway_faults_shared import ANSWER, FAVOURITE, PROMPT, error_of, is_complete, provider
from gateway_shared import CHAT, O_CHAT, Answer, ask, chat, gateway, node, retries, run, times, until

from fairlead.config import ModelConfig, Timeouts
from fairlead.config.schema import ModelTimeouts
from fairlead.domain.report import NodeReport
from fairlead.domain.resources import UNKNOWN_CAPACITY
from fairlead.gateway import RunningGateway
from fairlead.health.config import HedgingConfig
from fairlead.orchestrator.attempt import DEADLINE_SLACK_S
from fairlead.orchestrator.timeouts import TICK_S
from fairlead.testing.fates import Fate, Received, Reply
from fairlead.testing.provider import FakeProvider

LEVELS = ("common", "node", "model", "request")
MEETS = {"headers_s": Fate.SILENT, "first_token_s": Fate.HEAD_ONLY, "idle_s": Fate.STALL, "total_s": Fate.SILENT}
"""Of each limit, what a node does that it ends."""
SOON_S = 6.0
"""Far less than all limits but the one that is tested."""
ONCE = retries(max_attempts=1)


def asks_for(**limits: float) -> dict[str, str]:
    """Return the header with which a caller sets limits."""
    return {"x-fairlead-timeouts": ", ".join(f"{name}={value}" for name, value in limits.items())}


@asynccontextmanager
async def levels(
    one: FakeProvider, limit: str, values: dict[str, float]
) -> AsyncIterator[tuple[RunningGateway, dict[str, str]]]:
    """Run a gateway that is told one limit at several levels; also gives the headers to ask with."""
    said = {level: {limit: value} for level, value in values.items()}
    common: dict[str, Any] = {"first_token_s": 20.0, "idle_s": 20.0, "total_s": 25.0} | said.get("common", {})
    model = ModelConfig(name="m", timeouts=ModelTimeouts(**said.get("model", {})))
    nodes = [node(one, timeouts=times(**said.get("node", {})))]
    async with gateway(*nodes, timeouts=Timeouts(**common), models=(model,), retries=ONCE) as running:
        yield running, asks_for(**said["request"]) if "request" in said else {}


async def stream(running: RunningGateway, path: str = CHAT, **headers: str) -> Answer:
    return await asyncio.wait_for(
        ask(
            running, path, chat(PROMPT, stream=True), headers={name.replace("_", "-"): v for name, v in headers.items()}
        ),
        SOON_S,
    )


# -- who says what


@pytest.mark.parametrize("limit", sorted(MEETS))
def test_each_level_may_set_each_limit_and_goes_before_those_below(limit: str) -> None:
    async def one(level: str) -> None:
        async with provider(reply=Reply(fate=MEETS[limit])) as stuck:
            values = dict.fromkeys(LEVELS[: LEVELS.index(level)], 20.0) | {level: 0.2}
            async with levels(stuck, limit, values) as (running, headers):
                answer = await stream(running, **headers)
                assert not is_complete(answer, CHAT, stream=True)
                assert error_of(answer, CHAT), (limit, level)
                assert stuck.attempts == 1

    async def main() -> None:
        await asyncio.gather(*map(one, LEVELS))

    run(main())


def test_a_higher_level_may_also_wait_for_longer() -> None:
    async def one(level: str) -> None:
        async with provider(reply=Reply(late_s=0.4)) as late:
            values = dict.fromkeys(LEVELS[: LEVELS.index(level)], 0.1) | {level: 10.0}
            async with levels(late, "first_token_s", values) as (running, headers):
                assert (await stream(running, **headers)).text == ANSWER, level

    async def main() -> None:
        await asyncio.gather(*map(one, LEVELS))

    run(main())


SENSELESS = (
    "first_token_s",
    "first_token_s=",
    "first_token_s=-1",
    "first_token_s=0",
    "first_token_s=soon",
    "idle_s=nan",
    "total_s=inf",
    "total_s=1_0",
    "=1",
    "connect_s=1",
    "first_token_s=1 idle_s=2",
    "first_token_s=1, patience_s=2",
)


def test_a_limit_that_makes_no_sense_is_the_callers_error_and_names_the_header() -> None:
    async def main() -> None:
        async with FakeProvider() as well, gateway(node(well)) as running:
            for value in SENSELESS:
                for path in (CHAT, O_CHAT):
                    answer = await stream(running, path, **{"x-fairlead-timeouts": value})
                    assert answer.status == 400, value
                    assert "x-fairlead-timeouts" in error_of(answer, path), value
            assert well.attempts == 0
            for value in ("", " , ", "first_token_s=5", " first_token_s = 5 ,idle_s=2,", "total_s=1e3"):
                assert (await stream(running, **{"x-fairlead-timeouts": value})).status == 200, value

    run(main())


# -- what a wait leads to


@pytest.mark.parametrize("limit", ["headers_s", "first_token_s"])
def test_the_callers_own_limit_on_the_first_token_leads_to_another_node(limit: str) -> None:
    async def main() -> None:
        async with provider(reply=Reply(fate=MEETS[limit])) as stuck, provider() as well:
            nodes = node(stuck, "stuck", weight=FAVOURITE), node(well, "well")
            async with gateway(*nodes, strategy="random") as running:
                answer = await stream(running, **asks_for(**{limit: 0.2}))
                assert answer.text == ANSWER
                assert answer.headers["x-fairlead-node"] == "well"
                await until(lambda: stuck.abandoned == 1)

    run(main())


def test_headers_that_come_in_time_give_the_first_token_all_of_its_own() -> None:
    async def main() -> None:
        async with provider(reply=Reply(late_s=0.6)) as late, gateway(node(late), retries=ONCE) as running:
            answer = await stream(running, **asks_for(headers_s=0.3, first_token_s=10.0))
            assert answer.text == ANSWER

    run(main())


@pytest.mark.parametrize("loads", [True, False])
def test_a_node_that_has_to_load_the_model_first_gets_time_for_it(loads: bool) -> None:
    async def main() -> None:
        async with provider(reply=Reply(late_s=0.6)) as late:
            limits = times(first_token_s=0.2, load_s=15.0)
            async with gateway(node(late, timeouts=limits), retries=ONCE) as running:
                orchestrator = running.orchestrator
                if loads:
                    report = NodeReport(node="a", sampled_at_s=orchestrator.clock(), kind="ollama", loaded={})
                    orchestrator.hear(report, UNKNOWN_CAPACITY)
                answer = await stream(running)
                assert (answer.text == ANSWER) is loads
                assert (answer.status == 504) is not loads

    run(main())


def test_a_cold_model_is_no_reason_to_ask_a_second_node() -> None:
    hedging = HedgingConfig(enabled=True, quantile=0.5, budget=1.0, min_outcomes=2)

    async def main() -> None:
        async with provider() as first, provider() as second:
            nodes = node(first, "first", weight=FAVOURITE), node(second, "second")
            async with gateway(*nodes, strategy="random", hedging=hedging) as running:
                orchestrator = running.orchestrator
                for name in ("first", "second"):
                    for _ in range(4):
                        orchestrator.hedger.observe(("m", name), 0.05)
                    report = NodeReport(node=name, sampled_at_s=orchestrator.clock(), kind="ollama", loaded={})
                    orchestrator.hear(report, UNKNOWN_CAPACITY)
                first.default = second.default = Reply(late_s=0.4)
                assert (await stream(running)).text == ANSWER
                assert first.attempts + second.attempts == 1

    run(main())


# -- what counts as progress


def test_a_second_node_that_gets_nowhere_while_it_repeats_the_answer_is_given_up() -> None:
    async def one(fate: Fate, share: float) -> None:
        async with provider(reply=Reply(fate=Fate.CUT, pieces=8)) as cut, provider() as stuck, provider() as well:
            stuck.default = Reply(fate=fate, share=share, pieces=8)
            limits = times(first_token_s=0.3, idle_s=0.3)
            nodes = [
                node(cut, "cut", weight=FAVOURITE**2),
                node(stuck, "stuck", weight=FAVOURITE, timeouts=limits),
                node(well, "well"),
            ]
            async with gateway(*nodes, strategy="random") as running:
                answer = await stream(running)
                events = [line for line in answer.body.split(b"\n\n") if not line.startswith(b":")]
                answer.body = b"\n\n".join(events)
                assert answer.text == ANSWER
                assert is_complete(answer, CHAT, stream=True)
                assert (cut.attempts, stuck.attempts, well.attempts) == (1, 1, 1)
                await until(lambda: stuck.abandoned == 1)

    async def main() -> None:
        ways = [(fate, share) for fate in (Fate.DRIP, Fate.COMMENTS, Fate.STALL) for share in (0.2, 0.9)]
        await asyncio.gather(*(one(*way) for way in ways))

    run(main())


def test_a_second_node_that_repeats_the_answer_slowly_is_not_given_up() -> None:
    async def main() -> None:
        async with provider(reply=Reply(fate=Fate.CUT, pieces=8, share=0.9)) as cut, provider() as slow:
            slow.default = Reply(pieces=8, pause_s=0.15)
            limits = times(first_token_s=0.5, idle_s=0.5)
            nodes = node(cut, "cut", weight=FAVOURITE), node(slow, "slow", timeouts=limits)
            async with gateway(*nodes, strategy="random", retries=retries(max_attempts=2)) as running:
                answer = await stream(running)
                assert answer.text == ANSWER
                assert slow.attempts == 1

    run(main())


# -- how long at most

STUCK = (Fate.SILENT, Fate.HEAD_ONLY, Fate.STALL, Fate.DRIP, Fate.COMMENTS, Fate.ENDLESS, Fate.UNENDED)
SHORT_LIVED = (Fate.RESET, Fate.HANG_UP, Fate.CUT, Fate.MALFORMED, Fate.ERROR_EVENT, Fate.NOT_HTTP)
REFUSALS = (Reply(status=503), Reply(status=429), Reply(status=429, headers={"retry-after": "0.1"}), Reply(status=500))
TOTAL_S = 0.7


class Lag:
    """Measures by how much this event loop is late, so that a busy machine is not taken for a slow gateway."""

    def __init__(self) -> None:
        self.most_s = 0.0

    async def measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before_s = loop.time()
            await asyncio.sleep(0.01)
            self.most_s = max(self.most_s, loop.time() - before_s - 0.01)


def mishaps(seed: int) -> Any:
    draw = random.Random(seed)

    def choose(_: Received) -> Reply:
        return draw.choice(
            (*(Reply(fate=one, share=draw.random()) for one in (*STUCK, *STUCK, *SHORT_LIVED)), *REFUSALS)
        )

    return choose


async def longest(rounds: int, seed: int, **more: Any) -> None:
    """Ask nodes to which anything may happen, in every way, and look at how long each call takes."""
    lag = Lag()
    measuring = asyncio.create_task(lag.measure())
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(provider()) for _ in range(3)]
        for number, one in enumerate(nodes):
            one.choose = mishaps(seed * 10 + number)
        limits = Timeouts(first_token_s=0.35, idle_s=0.25, total_s=TOTAL_S)
        served = [node(one, f"n{i}") for i, one in enumerate(nodes)]
        running = await stack.enter_async_context(gateway(*served, strategy="round_robin", timeouts=limits, **more))

        async def timed(path: str, streamed: bool, total_s: float | None) -> None:
            headers = {} if total_s is None else asks_for(total_s=total_s)
            began_s = loop.time()
            await ask(running, path, chat(PROMPT, stream=streamed), headers=headers)
            took_s = loop.time() - began_s
            allowed_s = (total_s or TOTAL_S) + DEADLINE_SLACK_S + 2 * TICK_S
            assert took_s <= allowed_s + 5 * lag.most_s + 0.05, (path, streamed, total_s, took_s)

        for _ in range(rounds):
            ways = [(path, is_streamed) for path in (CHAT, O_CHAT) for is_streamed in (True, False)]
            await asyncio.gather(*(timed(*way, total_s) for way in ways for total_s in (None, 0.4, 1.0)))
    measuring.cancel()


@pytest.mark.parametrize("hedging", [HedgingConfig(), HedgingConfig(enabled=True, budget=1.0, min_outcomes=1)])
def test_whatever_happens_a_call_lasts_no_longer_than_its_total(hedging: HedgingConfig) -> None:
    many = retries(max_attempts=6, budget_ratio=1.0, min_per_second=1000.0)
    run(longest(2, 1, hedging=hedging, retries=many))


@pytest.mark.soak
def test_whatever_happens_a_call_lasts_no_longer_than_its_total_for_long() -> None:
    many = retries(max_attempts=6, budget_ratio=1.0, min_per_second=1000.0)
    for seed in range(20):
        run(longest(6, seed, retries=many))
