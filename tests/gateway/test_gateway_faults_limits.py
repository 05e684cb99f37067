"""Nodes that are slow, limited or unsteady: what bounds them, who is asked instead, and how they come back."""

import asyncio

import pytest
from gateway_faults_shared import ANSWER, COMMON, FAVOURITE, PATIENT, PROMPT, case, is_complete, provider
from gateway_shared import CHAT, O_CHAT, ask, chat, gateway, node, run, times, until

from fairlead.config import CircuitBreakerConfig
from fairlead.gateway import RunningGateway
from fairlead.health import Circuit
from fairlead.health.config import HedgingConfig
from fairlead.testing.answers import FakeDialect
from fairlead.testing.clock import ManualClock
from fairlead.testing.fates import Fate, Received, Reply, flapping, flapping_by_time
from fairlead.testing.faults import FAULTS

IDLE_ONLY = times(connect_s=5.0, headers_s=20.0, first_token_s=20.0, idle_s=0.3, total_s=60.0)
FIRST_ONLY = times(connect_s=5.0, headers_s=20.0, first_token_s=0.3, idle_s=20.0, total_s=60.0)
HEADERS_ONLY = times(connect_s=5.0, headers_s=0.3, first_token_s=20.0, idle_s=20.0, total_s=60.0)
SOON_S = 8.0
"""Far less than all limits but the one that is tested."""


def circuit(running: RunningGateway, name: str) -> Circuit:
    return running.orchestrator.fleet.nodes[name].breaker.state


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("stall", IDLE_ONLY),
        ("drip", IDLE_ONLY),
        ("comments", IDLE_ONLY),
        ("head_only", FIRST_ONLY),
        ("late", FIRST_ONLY),
        ("drip_first", FIRST_ONLY),
        ("comments_first", FIRST_ONLY),
        ("silent", HEADERS_ONLY),
    ],
)
@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_each_limit_alone_ends_the_wait(kind: FakeDialect, name: str, limits: object) -> None:
    async def main(path: str) -> None:
        async with case(FAULTS[name], kind, helped=True, limits=limits) as it:
            answer = await asyncio.wait_for(it.ask(path, stream=True), SOON_S)
            body = b"\n".join(line for line in answer.body.splitlines() if line and not line.startswith(b":"))
            assert answer.status == 200
            assert b"24." in body, "it was finished"
            await until(lambda: it.bad.abandoned == 1)

    async def both() -> None:
        await asyncio.gather(main(CHAT), main(O_CHAT))

    run(both())


def test_a_node_that_names_a_time_is_left_alone_until_then() -> None:
    async def main() -> None:
        async with case(FAULTS["rate_limited_huge"], "openai", helped=True) as it:
            for _ in range(6):
                assert (await it.ask(stream=True)).text == ANSWER
            assert it.bad.attempts == 1
            assert it.good is not None
            assert it.good.attempts == 6

    run(main())


def test_nobody_waits_beyond_the_callers_deadline_for_a_node_to_come_back() -> None:
    async def main() -> None:
        async with case(FAULTS["rate_limited_huge"], "openai", helped=False) as it:
            it.bad.choose = None
            it.bad.default = Reply(status=429, headers={"retry-after": "5"})
            answer = await asyncio.wait_for(it.ask(stream=False, headers={"x-fairlead-deadline-ms": "800"}), 4.0)
            assert answer.status == 429
            assert answer.headers["retry-after"] == "5"
            assert it.bad.attempts == 1

    run(main())


def test_a_node_that_fails_for_ever_is_left_alone_and_comes_back_when_it_is_well() -> None:
    breaker = CircuitBreakerConfig(failure_threshold=3, success_threshold=2, timeout_s=0.3, half_open_requests=1)

    async def main() -> None:
        async with case(FAULTS["unavailable_forever"], "openai", helped=True, circuit_breaker=breaker) as it:
            for _ in range(8):
                assert (await it.ask(stream=True)).text == ANSWER
                if circuit(it.running, "bad") is Circuit.OPEN:
                    break
            assert circuit(it.running, "bad") is Circuit.OPEN
            assert it.bad.attempts == 3
            it.bad.choose = None
            it.bad.peak_answering = 0
            until_s = asyncio.get_running_loop().time() + 10.0
            while circuit(it.running, "bad") is not Circuit.CLOSED:
                assert asyncio.get_running_loop().time() < until_s, "it never came back"
                answers = await asyncio.gather(*(it.ask(stream=True) for _ in range(3)))
                assert {answer.text for answer in answers} == {ANSWER}, "served from others meanwhile"
                await asyncio.sleep(0.02)

    run(main())


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(fate=Fate.RESET), Reply(fate=Fate.CUT)])
def test_a_node_that_flaps_costs_nobody_an_answer(reply: Reply) -> None:
    async def main() -> None:
        async with provider() as bad, provider() as good:
            bad.choose = flapping(reply, good=6, bad_ones=6)
            nodes = node(bad, "bad", weight=FAVOURITE, timeouts=PATIENT), node(good, "good", timeouts=PATIENT)
            breaker = CircuitBreakerConfig(failure_threshold=3, success_threshold=2, timeout_s=0.05)
            async with gateway(*nodes, strategy="random", timeouts=COMMON, circuit_breaker=breaker) as running:
                for number in range(36):
                    answer = await ask(running, CHAT, chat(PROMPT, stream=number % 2 == 0))
                    assert (answer.status, answer.text) == (200, ANSWER)
                assert bad.attempts > 3

    run(main())


def test_a_second_node_is_asked_when_a_first_token_is_late_and_the_loser_is_stopped() -> None:
    hedging = HedgingConfig(enabled=True, quantile=0.9, budget=1.0, min_outcomes=4)

    async def main() -> None:
        async with provider() as bad, provider() as good:
            nodes = node(bad, "bad", weight=FAVOURITE, timeouts=PATIENT), node(good, "good", timeouts=PATIENT)
            async with gateway(*nodes, strategy="random", timeouts=COMMON, hedging=hedging) as running:
                for _ in range(6):
                    assert (await ask(running, CHAT, chat(PROMPT, stream=True))).text == ANSWER
                asked = good.attempts
                bad.default = FAULTS["late"].reply
                answer = await asyncio.wait_for(ask(running, CHAT, chat(PROMPT, stream=True)), 4.0)
                assert answer.text == ANSWER
                assert is_complete(answer, CHAT, stream=True)
                assert answer.headers["x-fairlead-node"] == "good"
                assert good.attempts == asked + 1
                await until(lambda: bad.abandoned >= 1 and not bad.answering)
                assert circuit(running, "bad") is Circuit.CLOSED

    run(main())


def test_a_pattern_of_good_and_bad_requests_or_seconds() -> None:
    request = Received("POST", "/v1/chat/completions", {}, b"{}")
    bad = Reply(status=503)
    by_count = flapping(bad, good=2, bad_ones=1)
    assert [by_count(request) for _ in range(6)] == [None, None, bad, None, None, bad]
    clock = ManualClock()
    by_time = flapping_by_time(bad, clock, good_s=2.0, bad_s=1.0)
    seen = []
    for _ in range(6):
        seen.append(by_time(request))
        clock.advance(1.0)
    assert seen == [None, None, bad, None, None, bad]
