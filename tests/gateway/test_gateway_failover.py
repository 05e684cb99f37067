"""Nodes that die, refuse or overflow: what the caller sees, what the node is asked, and who is blamed."""

import asyncio
import json
import time
from typing import Any

import pytest
from gateway_shared import (
    CHAT,
    EMBEDDING,
    O_CHAT,
    SHORT,
    STRATEGIES,
    Answer,
    ask,
    caller,
    chat,
    gateway,
    node,
    retries,
    run,
    times,
    until,
)

from fairlead.config import CircuitBreakerConfig, ModelConfig, QueueConfig
from fairlead.gateway import RunningGateway
from fairlead.health import Circuit
from fairlead.testing.answers import FakeDialect
from fairlead.testing.provider import FakeProvider, Fate, Reply

DEATHS = ("refusing", "unreachable", "resetting", "hanging up", "hanging")
CONNECTIONS = 64
PATIENT = times(connect_s=10.0, first_token_s=10.0, idle_s=10.0)
"""For the node that is well: a busy machine must not look like a broken one."""


async def die(provider: FakeProvider, how: str) -> None:
    if how == "refusing":
        await provider.refuse()
    elif how == "unreachable":
        await provider.be_unreachable()
    else:
        fates = {"resetting": Fate.RESET, "hanging up": Fate.HANG_UP, "hanging": Fate.SILENT}
        provider.default = Reply(fate=fates[how])
        await provider.start()


def circuit(running: RunningGateway, name: str) -> Circuit:
    return running.orchestrator.fleet.nodes[name].breaker.state


async def ask_often(running: RunningGateway, connections: int, each: int, *, stream: bool) -> list[Answer]:
    async def worker(number: int) -> list[Answer]:
        async with caller(running) as one:
            answers = []
            for turn in range(each):
                one.send("POST", CHAT, chat(f"task {number} {turn}", stream=stream))
                answers.append(await one.answer())
            return answers

    gathered = await asyncio.gather(*map(worker, range(connections)))
    return [answer for answers in gathered for answer in answers]


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_one_of_two_nodes_dead_no_request_fails(strategy: str, how: str) -> None:
    async def main(kind: FakeDialect) -> None:
        dead = FakeProvider(kind)
        await die(dead, how)
        async with FakeProvider() as alive:
            limits = times(connect_s=0.2, first_token_s=0.4)
            nodes = node(dead, "dead", timeouts=limits), node(alive, "alive", timeouts=PATIENT)
            async with gateway(*nodes, strategy=strategy, timeouts=SHORT) as running:
                answers = await ask_often(running, CONNECTIONS, 3, stream=True)
                assert {answer.status for answer in answers} == {200}
                assert {answer.headers["x-fairlead-node"] for answer in answers} == {"alive"}
                assert all(answer.is_whole and answer.events[-1] == "[DONE]" for answer in answers)
                assert circuit(running, "alive") is Circuit.CLOSED
        await dead.stop()

    for kind in ("openai", "ollama") if strategy == "hybrid" else ("ollama",):
        run(main(kind))


@pytest.mark.parametrize("status", [500, 503])
def test_a_whole_fleet_that_fails_is_not_asked_over_and_over(status: int) -> None:
    body = b'{"error":{"message":"out of memory","type":"server_error","code":"oom"}}'

    async def main() -> None:
        broken = Reply(status=status, body=body)
        async with FakeProvider(default=broken) as one, FakeProvider(default=broken) as two:
            never = CircuitBreakerConfig(failure_threshold=1_000_000)
            nodes = node(one, "one"), node(two, "two")
            async with gateway(*nodes, circuit_breaker=never, strategy="random") as running:
                began_s = time.monotonic()
                answers = await ask_often(running, 32, 10, stream=False)
                head_start = 1
                allowed = 1.2 * len(answers) + head_start + 3 * (time.monotonic() - began_s + 1)
                assert len(answers) <= one.attempts + two.attempts <= allowed
                for answer in answers:
                    assert answer.status == status
                    error = answer.json["error"]
                    assert (error["message"], error["type"], error["code"]) == ("out of memory", "server_error", "oom")
                    assert answer.headers["x-should-retry"] == "false"

    run(main())


def test_with_all_circuits_open_the_last_reason_or_the_state_of_the_fleet_is_told() -> None:
    async def main() -> None:
        body = b'{"error":{"message":"out of memory"}}'
        async with (
            FakeProvider(default=Reply(status=500, body=body)) as provider,
            gateway(node(provider, "only")) as running,
        ):
            answers = await ask_often(running, 8, 6, stream=False)
            asked = [answer for answer in answers if answer.headers["x-fairlead-attempts"] != "0"]
            assert asked
            assert {(answer.status, answer.json["error"]["message"]) for answer in asked} == {(500, "out of memory")}
            spared = [answer for answer in answers if answer.headers["x-fairlead-attempts"] == "0"]
            assert spared
            for answer in spared:
                assert answer.status == 503
                assert "circuit open (only)" in answer.json["error"]["message"]
                assert int(answer.headers["retry-after"]) >= 1
                assert "x-should-retry" not in answer.headers

    run(main())


def test_a_node_that_names_a_time_is_asked_again_then() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            provider.script(Reply(status=429, headers={"retry-after": "0.3"}))
            began_s = time.monotonic()
            answer = await ask(running, CHAT, chat())
            assert time.monotonic() - began_s >= 0.3
            assert (answer.status, answer.text) == (200, "echo: hello there")
            assert answer.headers["x-fairlead-attempts"] == "2"
            assert provider.attempts == 2

    run(main())


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e400", "-5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_strange_retry_after_does_no_harm(value: str) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(status=429, headers={"retry-after": value})) as provider,
            gateway(node(provider), retries=retries(max_attempts=1)) as running,
        ):
            answer = await ask(running, CHAT, chat())
            assert answer.status == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 86_400

    run(main())


def test_a_prompt_that_is_too_long_goes_to_a_larger_model() -> None:
    body = b'{"error":{"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}'

    async def main() -> None:
        async with FakeProvider(models=("small",)) as one, FakeProvider(models=("large",)) as two:
            one.default = Reply(status=400, body=body)
            models = ModelConfig(name="small", context_tokens=2048), ModelConfig(name="large", context_tokens=32768)
            groups = {"any": ("small", "large")}
            nodes = node(one, "one"), node(two, "two")
            async with gateway(*nodes, models=models, groups=groups, strategy="round_robin") as running:
                for _ in range(4):
                    answer = await ask(running, CHAT, chat(model="any"))
                    assert (answer.status, answer.headers["x-fairlead-model"]) == (200, "large")
                alone = await ask(running, CHAT, chat(model="small"))
                assert alone.status == 400
                assert "context size" in alone.json["error"]["message"]
                assert circuit(running, "one") is Circuit.CLOSED, "the node did nothing wrong"

    run(main())


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_node_that_refuses_its_key_or_model_is_spared_that_model(status: int) -> None:
    async def main() -> None:
        async with FakeProvider(models=("m", "n")) as bad, FakeProvider() as good:
            bad.choose = lambda request: Reply(status=status) if request.asked.model == "m" else None
            async with gateway(node(bad, "bad"), node(good, "good"), strategy="round_robin") as running:
                for _ in range(6):
                    assert (await ask(running, CHAT, chat())).headers["x-fairlead-node"] == "good"
                assert bad.attempts == 1
                assert circuit(running, "bad") is Circuit.CLOSED
                assert (await ask(running, CHAT, chat(model="n"))).headers["x-fairlead-node"] == "bad"
                record = (await ask(running, "/admin/fleet")).json
                assert record["nodes"][0]["circuit"] == "closed"

    run(main())


def test_a_node_without_embeddings_still_chats() -> None:
    async def main() -> None:
        async with FakeProvider() as bad, FakeProvider() as good:
            bad.choose = lambda request: Reply(status=501) if "embed" in request.path else None
            async with gateway(node(bad, "bad"), node(good, "good"), strategy="round_robin") as running:
                for _ in range(4):
                    answer = await ask(running, EMBEDDING, {"model": "m", "input": "a"})
                    assert (answer.status, answer.headers["x-fairlead-node"]) == (200, "good")
                nodes = {(await ask(running, CHAT, chat())).headers["x-fairlead-node"] for _ in range(4)}
                assert nodes == {"bad", "good"}

    run(main())


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(400, "invalid_request_error", "bad_value"), (422, "x", None), (400, "content_filter", "content_filter")],
)
def test_what_is_the_callers_fault_goes_straight_back(status: int, kind: str, code: str | None) -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two:
            error = {"error": {"message": "no", "type": kind, "code": code, "param": "p"}}
            one.default = two.default = Reply(status=status, body=json.dumps(error).encode())
            async with gateway(node(one, "one"), node(two, "two")) as running:
                for _ in range(6):
                    answer = await ask(running, CHAT, chat())
                    assert (answer.status, answer.json) == (status, error)
                ollama = await ask(running, O_CHAT, chat())
                assert (ollama.status, ollama.json) == (status, {"error": "no"})
                assert one.attempts + two.attempts == 7
                assert circuit(running, "one") is circuit(running, "two") is Circuit.CLOSED

    run(main())


def test_a_connection_that_went_stale_in_the_pool_is_no_mark_against_its_node() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), retries=retries(max_attempts=1)) as running:
            breaker = running.orchestrator.fleet.nodes["a"].breaker
            for _ in range(3):
                assert (await ask(running, CHAT, chat())).headers["x-fairlead-attempts"] == "1"
            assert provider.accepted == 1, "the connection is kept"
            provider.script(Reply(fate=Fate.HANG_UP))  # it closes just when the next request comes
            answer = await ask(running, CHAT, chat())
            assert (answer.status, answer.headers["x-fairlead-attempts"]) == (200, "1")
            assert provider.accepted == 2
            provider.close_idle()
            assert (await ask(running, CHAT, chat())).status == 200
            assert breaker.state is Circuit.CLOSED
            provider.script(Reply(fate=Fate.HANG_UP), Reply(fate=Fate.HANG_UP))
            answer = await ask(running, CHAT, chat())  # replayed once, not more
            assert answer.status == 502

    run(main())


def test_a_server_that_hangs_up_after_every_stream_is_served_on() -> None:
    async def main() -> None:
        async with (
            FakeProvider(hangs_up_after_streams=True) as provider,
            gateway(node(provider), retries=retries(max_attempts=1)) as running,
        ):
            answers = await ask_often(running, 8, 10, stream=True)
            answers += await ask_often(running, 8, 10, stream=False)
            assert {answer.status for answer in answers} == {200}
            assert circuit(running, "a") is Circuit.CLOSED

    run(main())


@pytest.mark.parametrize(
    ("fate", "stream"),
    [
        (Fate.CUT, False),
        (Fate.CUT_RESET, False),
        (Fate.MALFORMED, False),
        (Fate.NOT_HTTP, False),
        (Fate.NOT_HTTP, True),
        (Fate.HEADER_FLOOD, False),
        (Fate.HEADER_FLOOD, True),
    ],
)
def test_a_broken_answer_is_a_failure_and_another_node_takes_over(fate: Fate, stream: bool) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=fate)) as bad,
            FakeProvider() as good,
            gateway(node(bad, "bad"), node(good, "good"), strategy="round_robin") as running,
        ):
            for _ in range(4):
                answer = await ask(running, CHAT, chat(stream=stream))
                assert (answer.status, answer.text) == (200, "echo: hello there")
                assert answer.headers["x-fairlead-node"] == "good"
            assert bad.attempts >= 1
            metrics = running.gateway._metrics.failed_attempts
            assert sum(count for (name, _), count in metrics.items() if name == "bad") == bad.attempts

    run(main())


BREAKS = (Fate.CUT, Fate.CUT_RESET, Fate.UNFINISHED, Fate.MALFORMED, Fate.ERROR_EVENT, Fate.STALL)


@pytest.mark.parametrize("fate", BREAKS)
@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("path", [CHAT, O_CHAT])
def test_a_stream_that_breaks_is_never_taken_for_complete(path: str, kind: FakeDialect, fate: Fate) -> None:
    async def main() -> None:
        async with (
            FakeProvider(kind, default=Reply(fate=fate)) as provider,
            gateway(node(provider), timeouts=SHORT) as running,
        ):
            async with caller(running) as one:
                one.send("POST", path, chat(stream=True))
                answer = await one.answer()
            assert answer.status == 200
            assert not answer.is_whole, "the connection ends without the mark of a complete answer"
            assert b"[DONE]" not in answer.body
            if path == CHAT:
                last: dict[str, Any] = answer.events[-1]["error"]
                assert last["message"]
                assert set(last) == {"message", "type", "param", "code"}
            else:
                assert answer.lines[-1]["error"]
                assert not any(line.get("done") for line in answer.lines)
            assert answer.text, "what came before the break is the caller's"
            assert circuit(running, "a") is Circuit.CLOSED
            failures = running.gateway._metrics.failed_attempts
            assert sum(failures.values()) == 1
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")
            assert record.json["outcome"] != "success"
            assert provider.answering == 0 or fate is Fate.STALL
            if fate is Fate.STALL:
                await until(lambda: provider.abandoned == 1)

    run(main())


@pytest.mark.parametrize("fate", [Fate.NO_DONE, Fate.NO_USAGE])
def test_what_a_finished_stream_lacks_is_supplied(fate: Fate) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=fate)) as provider, gateway(node(provider)) as running:
            answer = await ask(running, CHAT, chat(stream=True, stream_options={"include_usage": True}))
            assert answer.is_whole
            assert answer.events[-1] == "[DONE]"
            assert answer.events[-2]["usage"]["completion_tokens"] > 0
            assert (await ask(running, O_CHAT, chat())).lines[-1]["done"] is True

    run(main())


@pytest.mark.parametrize("fate", [Fate.SILENT, Fate.HEAD_ONLY])
def test_a_node_that_never_says_a_word_is_left_after_the_first_token_limit(fate: Fate) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=fate)) as bad,
            FakeProvider() as good,
            gateway(
                node(bad, "bad"), node(good, "good", timeouts=PATIENT), strategy="round_robin", timeouts=SHORT
            ) as running,
        ):
            answers = [await ask(running, CHAT, chat(stream=True)) for _ in range(2)]
            assert [answer.headers["x-fairlead-node"] for answer in answers] == ["good", "good"]
            assert "2" in {answer.headers["x-fairlead-attempts"] for answer in answers}
            await until(lambda: bad.abandoned == bad.attempts and bad.connections == 0)

    run(main())


def test_a_callers_own_deadline_is_no_mark_against_the_node() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider, gateway(node(provider)) as running:
            headers = {"x-fairlead-deadline-ms": "30"}
            for stream in (False, True) * 4:
                answer = await ask(running, CHAT, chat(stream=stream), headers=headers)
                assert answer.status == 504
                assert "deadline" in answer.json["error"]["message"]
            assert circuit(running, "a") is Circuit.CLOSED, "callers could take nodes away from each other"
            provider.release()
            assert (await ask(running, CHAT, chat())).status == 200

    run(main())


def test_full_slots_make_requests_wait_and_then_run() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            gateway(node(provider, slots=2)) as running,
        ):
            asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}", stream=n % 2 == 0))) for n in range(10)]
            await until(lambda: provider.attempts == 2 and len(running.orchestrator.in_flight) == 10)
            provider.release()
            answers = await asyncio.gather(*asking)
            assert [answer.text for answer in answers] == [f"echo: {n}" for n in range(10)]
            assert provider.peak_answering == 2

    run(main())


def test_a_full_waiting_line_is_told_at_once() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            gateway(node(provider, slots=1), queue=QueueConfig(max_waiting=2)) as running,
        ):
            asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}"))) for n in range(3)]
            await until(lambda: len(running.orchestrator.in_flight) == 3)
            answer = await ask(running, CHAT, chat())
            assert (answer.status, answer.json["error"]["code"]) == (429, "fleet_full")
            assert int(answer.headers["retry-after"]) >= 1
            for task in asking[1:]:  # those who wait give up ...
                task.cancel()
            await until(lambda: len(running.orchestrator.in_flight) == 1)
            later = asyncio.create_task(ask(running, CHAT, chat("later")))  # ... so there is room again
            await until(lambda: len(running.orchestrator.in_flight) == 2 or later.done())
            provider.release()
            assert (await later).text == "echo: later"
            assert (await asking[0]).status == 200

    run(main())


def test_a_slot_that_the_first_in_line_cannot_use_goes_to_the_next() -> None:
    async def main() -> None:
        async with FakeProvider(models=("x",)) as one, FakeProvider(models=("y",)) as two:
            one.default = two.default = Reply(fate=Fate.HOLD)
            async with gateway(node(one, "one", slots=1), node(two, "two", slots=1)) as running:
                waiting = [asyncio.create_task(ask(running, CHAT, chat(model=name))) for name in "xy"]
                await until(lambda: one.attempts == two.attempts == 1)
                for name in "xxy":
                    waiting.append(asyncio.create_task(ask(running, CHAT, chat(model=name))))
                    await until(lambda: len(running.orchestrator.in_flight) == len(waiting))
                two.release()
                await until(lambda: two.attempts == 2, 0.5)
                assert one.attempts == 1
                one.release()
                assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}

    run(main())


def test_a_wait_for_a_slot_ends_with_the_callers_deadline() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            gateway(node(provider, slots=1)) as running,
        ):
            first = asyncio.create_task(ask(running, CHAT, chat()))
            await until(lambda: provider.attempts == 1)
            answer = await ask(running, CHAT, chat(), headers={"x-fairlead-deadline-ms": "50"})
            assert answer.status == 504
            assert "room" in answer.json["error"]["message"]
            provider.release()
            assert (await first).status == 200
            assert circuit(running, "a") is Circuit.CLOSED

    run(main())


def test_a_circuit_opens_is_probed_and_closes_again() -> None:
    async def main() -> None:
        breaker = CircuitBreakerConfig(failure_threshold=2, success_threshold=2, timeout_s=0.2, half_open_requests=1)
        async with FakeProvider(default=Reply(fate=Fate.RESET)) as bad, FakeProvider() as good:
            nodes = node(bad, "bad"), node(good, "good")
            async with gateway(*nodes, circuit_breaker=breaker, strategy="round_robin") as running:
                while circuit(running, "bad") is Circuit.CLOSED:
                    assert (await ask(running, CHAT, chat())).status == 200
                asked = bad.attempts
                for _ in range(4):
                    assert (await ask(running, CHAT, chat())).headers["x-fairlead-node"] == "good"
                assert bad.attempts == asked
                bad.default = Reply()
                end_s = time.monotonic() + 3
                while circuit(running, "bad") is not Circuit.CLOSED and time.monotonic() < end_s:
                    assert (await ask(running, CHAT, chat())).status == 200
                assert circuit(running, "bad") is Circuit.CLOSED

    run(main())
