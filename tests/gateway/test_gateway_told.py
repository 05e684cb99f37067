"""What a caller is told of an answer after it began, and what of a node's is never taken at its word."""

import asyncio
import time
from email.utils import formatdate

import pytest
from gateway_faults_shared import ANSWER, FAVOURITE, PATIENT, PROMPT, provider
from gateway_shared import CHAT, ask, caller, chat, gateway, node, run, until

from fairlead.config import CheckingConfig, CircuitBreakerConfig, Continuation, HealthConfig
from fairlead.domain.health import Verdict
from fairlead.testing.answers import Continues
from fairlead.testing.fates import Fate, Reply

PLAIN = (
    b'data: {"id":"x","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"%b"},"finish_reason":null}%b\n\n'
)
LAST = b'data: {"id":"x","created":1,"model":"m","choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("wants", [True, False])
def test_trailers_name_who_ended_the_answer_to_those_who_read_them(wants: bool) -> None:
    async def main() -> None:
        async with provider() as bad, provider() as good:
            bad.default = Reply(fate=Fate.CUT)
            nodes = node(bad, "bad", weight=FAVOURITE), node(good, "good", timeouts=PATIENT)
            async with gateway(*nodes, strategy="random") as running, caller(running) as one:
                wish = {"te": "trailers"} if wants else {}
                one.send("POST", CHAT, chat(PROMPT, stream=True), {"connection": "close"} | wish)
                head, _, body = (await one.rest()).partition(b"\r\n\r\n")
                assert (b"\r\ntrailer: " in head) is wants
                assert b"x-fairlead-node: bad" in head
                lines = body.rpartition(b"\r\n0\r\n")[2].decode().strip().splitlines()
                told = {"x-fairlead-rescued": "spliced", "x-fairlead-model": "m", "x-fairlead-node": "good"}
                assert dict(line.split(": ") for line in lines) == (told if wants else {})

    run(main())


@pytest.mark.parametrize("rubbish", [b"", b",broken", b'],"text":"\xff\xfe"}'])
def test_rubbish_in_an_event_that_looks_plain_is_not_passed_on(rubbish: bytes) -> None:
    body = PLAIN % (b"one ", b"]}") + PLAIN % (b"two ", b"]}") + PLAIN % (b"three ", rubbish) + LAST % 0 + DONE

    async def main() -> None:
        async with provider(reply=Reply(body=body, headers=STREAM)) as one, gateway(node(one)) as running:
            answer = await ask(running, CHAT, chat("hello", stream=True))
            assert answer.text == "one two "
            assert not answer.body.endswith(DONE)
            assert answer.events[-1]["error"]

    run(main())


def test_of_two_answers_in_one_the_end_of_the_first_is_not_the_end_of_both() -> None:
    body = PLAIN % (b"one", b"]}") + LAST % 0

    async def main() -> None:
        async with provider(reply=Reply(body=body, headers=STREAM)) as one, gateway(node(one)) as running:
            both = await ask(running, CHAT, chat("hello", stream=True) | {"n": 2})
            assert both.events[-1]["error"]
            single = await ask(running, CHAT, chat("hello", stream=True))
            assert single.events[-1] == "[DONE]"

    run(main())


def test_a_node_that_names_a_date_is_asked_again_then_and_not_before() -> None:
    async def main() -> None:
        async with provider() as one, gateway(node(one)) as running:
            at_s = time.time() + 1.2  # a date of HTTP has whole seconds
            one.script(Reply(status=429, headers={"retry-after": formatdate(at_s, usegmt=True)}))
            answer = await ask(running, CHAT, chat(PROMPT, stream=False))
            assert answer.text == ANSWER
            assert time.time() >= int(at_s)
            assert one.attempts == 2

    run(main())


def test_where_all_of_many_nodes_ask_for_patience_the_task_waits_as_told() -> None:
    async def main() -> None:
        async with provider() as one, provider() as two, provider() as three, provider() as four:
            all_of_them = (one, two, three, four)
            for each in all_of_them:
                each.script(Reply(status=429, headers={"retry-after": "0.2"}))
            nodes = [node(each, f"n{at}") for at, each in enumerate(all_of_them)]
            async with gateway(*nodes) as running:
                answer = await ask(running, CHAT, chat(PROMPT, stream=False))
                assert answer.text == ANSWER
                assert [each.attempts for each in all_of_them].count(1) == 3

    run(main())


def test_a_caller_who_waits_for_less_than_the_node_may_take_does_not_blame_it() -> None:
    async def main() -> None:
        breaker = CircuitBreakerConfig(failure_threshold=1)
        async with provider(reply=Reply(fate=Fate.HOLD)) as one, gateway(node(one), circuit_breaker=breaker) as running:
            hurry = {"x-fairlead-timeouts": "first_token_s=0.1"}
            answer = await ask(running, CHAT, chat(PROMPT, stream=True), headers=hurry)
            assert answer.status == 504
            one.release()
            assert (await ask(running, CHAT, chat(PROMPT, stream=True))).text == ANSWER

    run(main())


def test_a_node_that_is_to_be_probed_is_handed_what_was_said_once_it_has_proved_that_it_goes_on() -> None:
    async def main() -> None:
        async with provider() as bad, provider(continues=Continues.TRAILING) as good:
            bad.default = Reply(fate=Fate.CUT)
            nodes = node(bad, "bad", weight=FAVOURITE), node(good, "good", continuation=Continuation.PROBE)
            async with gateway(*nodes, strategy="random") as running:
                target = running.orchestrator.targets["good"]
                await until(lambda: target.continuation is not None, 10.0)
                assert target.continuation is Continuation.TRAILING
                answer = await ask(running, CHAT, chat(PROMPT, stream=True))
                assert answer.text == ANSWER
                (note,) = [event["fairlead"] for event in answer.events[:-1] if "fairlead" in event]
                assert note == {"rescued": True, "how": "continued", "node": "good"}

    run(main())


def test_a_node_that_does_not_even_answer_when_it_is_asked_is_left_out_until_it_does() -> None:
    async def main() -> None:
        checks = CheckingConfig(interval_s=0.2, timeout_s=0.5, down_after=2)
        async with provider() as one, provider() as two:
            nodes = node(one, "one"), node(two, "two")
            async with gateway(*nodes, health=HealthConfig(check=checks), strategy="round_robin") as running:
                health = running.orchestrator.system_health
                await two.stop()
                await until(lambda: health().nodes["two"].verdict is Verdict.DOWN, 10.0)
                asked = one.attempts
                for _ in range(4):
                    assert (await ask(running, CHAT, chat(PROMPT, stream=False))).text == ANSWER
                assert one.attempts == asked + 4
                await two.start()
                await until(lambda: health().nodes["two"].verdict is Verdict.HEALTHY, 10.0)
                await asyncio.gather(*[ask(running, CHAT, chat(PROMPT, stream=False)) for _ in range(20)])
                assert two.attempts

    run(main())
