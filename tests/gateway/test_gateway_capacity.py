"""Capacity over real sockets: who comes first, who gives way, who is refused and when to come again."""

import asyncio
import json

import msgspec
from gateway_shared import CHAT, O_CHAT, Alarm, ask, chat, gateway, node, run, until

from fairlead.config import Capacity, KeyConfig, QueueConfig, Secret, WaitLimits
from fairlead.gateway import RunningGateway
from fairlead.testing.provider import FakeProvider, Fate, Reply

HOLD = Reply(fate=Fate.HOLD)


def prompts(provider: FakeProvider) -> list[str]:
    """Return what the node was asked, in order."""
    return [one.asked.prompt for one in provider.requests if one.method == "POST"]


def waiting(running: RunningGateway) -> int:
    return len(running.orchestrator.lobby.queue)


async def later(running: RunningGateway, text: str, priority: str, *, stream: bool = False) -> asyncio.Task[object]:
    """Ask, and return once the request has arrived."""
    before = len(running.orchestrator.in_flight)
    headers = {"x-fairlead-priority": priority}
    asking = asyncio.create_task(ask(running, CHAT, chat(text, stream=stream), headers=headers))
    await until(lambda: len(running.orchestrator.in_flight) > before or asking.done())
    return asking


def test_the_most_urgent_comes_first_whatever_the_order_of_arrival() -> None:
    async def main() -> None:
        async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
            asking = [await later(running, "first", "normal", stream=True)]
            for text, priority in (("b", "batch"), ("n", "normal"), ("9", "9"), ("i", "interactive"), ("0", "0")):
                asking.append(await later(running, text, priority))
            await until(lambda: waiting(running) == 5)
            provider.release()
            await asyncio.gather(*asking)
            assert prompts(provider) == ["first", "0", "i", "n", "b", "9"]

    run(main())


def test_a_priority_that_is_none_is_told() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            for value in ("urgent", "-1", "10", "", "1.5", "²"):
                answer = await ask(running, CHAT, chat(), headers={"x-fairlead-priority": value})
                assert (answer.status, "interactive, normal, batch" in answer.json["error"]["message"]) == (400, True)
            assert not provider.attempts

    run(main())


def test_batch_work_that_has_not_begun_gives_way_once_and_is_done_later() -> None:
    async def main() -> None:
        async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
            batch = await later(running, "batch", "batch", stream=True)
            await until(lambda: provider.attempts == 1)
            urgent = await later(running, "urgent", "interactive", stream=True)
            await until(lambda: provider.attempts == 2 and provider.abandoned == 1)
            assert waiting(running) == 1
            provider.release()
            assert (await urgent).text == "echo: urgent"  # type: ignore[attr-defined]
            assert (await batch).text == "echo: batch"  # type: ignore[attr-defined]
            assert prompts(provider) == ["batch", "urgent", "batch"]

    run(main())


def test_batch_work_leaves_a_part_of_every_node_free() -> None:
    async def main() -> None:
        async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=5)) as running:
            asking = [await later(running, f"b{n}", "batch", stream=True) for n in range(6)]
            await until(lambda: provider.attempts == 4 and waiting(running) == 2)
            asking.append(await later(running, "n", "normal"))
            await until(lambda: provider.attempts == 5)
            assert provider.abandoned == 0, "there was room, so nobody has to give way"
            provider.release()
            await asyncio.gather(*asking)

    run(main())


def test_a_task_larger_than_every_node_is_told_what_there_is() -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two:
            nodes = [
                msgspec.structs.replace(node(one, "small"), capacity=Capacity(tokens=1000)),
                msgspec.structs.replace(node(two, "large"), capacity=Capacity(tokens=2000)),
            ]
            async with gateway(*nodes) as running:
                answer = await ask(running, CHAT, chat("x" * 12000))
                assert answer.status == 400
                message = answer.json["error"]["message"]
                assert "larger than every node" in message
                assert "there are 2,000 on large" in message
                answer = await ask(running, CHAT, chat("x" * 4000))  # how long its answer is, is a guess
                assert answer.status == 200
                assert answer.headers["x-fairlead-node"] == "large"

    run(main())


def test_an_answer_is_cut_where_there_is_no_room_for_more_and_its_caller_allows_it() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, FakeProvider("ollama") as other:
            for one, path, read in ((provider, CHAT, _openai_limit), (other, O_CHAT, _ollama_limit)):
                capacity = Capacity(tokens=400)
                async with gateway(msgspec.structs.replace(node(one), capacity=capacity)) as running:
                    body = {**chat(), "max_tokens": 500} if path == CHAT else _ollama(500)
                    refused = await ask(running, path, body)
                    assert refused.status == 400
                    answer = await ask(running, path, body, headers={"x-fairlead-min-output-tokens": "100"})
                    assert answer.status == 200
                    limit = read(json.loads(one.requests[-1].body))
                    assert 100 <= limit < 400

    run(main())


def _ollama(limit: int) -> dict[str, object]:
    return {**chat(), "stream": False, "options": {"num_predict": limit}}


def _openai_limit(body: dict[str, int]) -> int:
    return body["max_tokens"]


def _ollama_limit(body: dict[str, dict[str, int]]) -> int:
    return body["options"]["num_predict"]


def test_a_deadline_that_waiting_cannot_meet_is_refused_at_once() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, slots=1)) as running:
            assert (await ask(running, CHAT, chat())).status == 200
            candidate = next(iter(running.orchestrator.fleet.candidates()))
            candidate.evidence.latency_sum_s = 5.0 * candidate.evidence.successes  # as if answers took five seconds
            provider.script(HOLD)
            first = await later(running, "first", "normal")
            answer = await ask(running, CHAT, chat(), headers={"x-fairlead-deadline-ms": "2000"})
            assert (answer.status, answer.json["error"]["code"]) == (429, "deadline_unmet")
            assert "deadline" in answer.json["error"]["message"]
            provider.release()
            await first

    run(main())


def test_nobody_waits_longer_than_its_class_may() -> None:
    async def main() -> None:
        limits = WaitLimits(interactive=0.2, normal=0.2, batch=30.0)
        async with (
            FakeProvider(default=HOLD) as provider,
            gateway(node(provider, slots=1), queue=QueueConfig(max_wait_s=limits)) as running,
        ):
            first = await later(running, "first", "normal", stream=True)
            refused = await asyncio.gather(
                *(
                    ask(running, CHAT, chat(stream=stream), headers={"x-fairlead-priority": "1"})
                    for stream in (True, False)
                )
            )
            for answer in refused:
                assert (answer.status, answer.json["error"]["code"]) == (429, "wait_too_long")
                assert int(answer.headers["retry-after"]) >= 1
            provider.release()
            await first

    run(main())


def keys(**more: object) -> tuple[KeyConfig, ...]:
    return (
        KeyConfig(name="alice", key=Secret("alice-key"), **more),  # type: ignore[arg-type]
        KeyConfig(name="bob", key=Secret("bob-key")),
    )


def as_(name: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}-key", **more}


def test_a_keys_limits_hold_for_requests_that_come_together() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=HOLD) as provider,
            gateway(node(provider), keys=keys(requests_per_minute=3)) as running,
        ):
            asking = [asyncio.create_task(ask(running, CHAT, chat(), headers=as_("alice"))) for _ in range(8)]
            await until(lambda: sum(one.done() for one in asking) == 5)
            provider.release()
            answers = await asyncio.gather(*asking)
            assert sorted(one.status for one in answers) == [200] * 3 + [429] * 5
            refused = next(one for one in answers if one.status == 429)
            assert refused.json["error"]["code"] == "rate_limit_exceeded"
            assert 1 <= int(refused.headers["retry-after"]) <= 61
            assert (await ask(running, CHAT, chat(), headers=as_("bob"))).status == 200

    run(main())


def test_tokens_of_a_key_are_charged_before_and_settled_afterwards() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), keys=keys(tokens_per_minute=1000)) as running:
            for _ in range(6):  # each is charged 600 tokens at first, and takes a few
                answer = await ask(running, CHAT, {**chat(), "max_tokens": 600}, headers=as_("alice"))
                assert answer.status == 200
            too_large = await ask(running, CHAT, {**chat(), "max_tokens": 3000}, headers=as_("alice"))
            assert too_large.status == 400
            assert "retry-after" not in too_large.headers
            assert "this request alone" in too_large.json["error"]["message"]

    run(main())


def test_a_key_cannot_be_more_urgent_than_it_may() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), keys=keys(max_priority="batch")) as running:
            headers = as_("alice", **{"x-fairlead-priority": "interactive"})
            answer = await ask(running, CHAT, chat(), headers=headers)
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}", headers=as_("alice"))
            assert record.json["priority"] == 8
            answer = await ask(running, CHAT, chat(), headers=as_("bob", **{"x-fairlead-priority": "0"}))
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}", headers=as_("bob"))
            assert record.json["priority"] == 0

    run(main())


def test_two_tenants_that_wait_take_turns_and_one_that_is_alone_has_all() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=HOLD) as provider,
            gateway(node(provider, slots=1), keys=keys()) as running,
        ):
            asking = [asyncio.create_task(ask(running, CHAT, chat("first", stream=True), headers=as_("bob")))]
            await until(lambda: provider.attempts == 1)
            for name, number in (("alice", 6), ("bob", 3)):
                for n in range(number):
                    asking.append(asyncio.create_task(ask(running, CHAT, chat(f"{name}{n}"), headers=as_(name))))
                    count = len(asking) - 1
                    await until(lambda count=count: waiting(running) == count)  # type: ignore[misc]
            provider.release()
            await asyncio.gather(*asking)
            order = [one[:1] for one in prompts(provider)[1:]]
            assert order[:6].count("a") == 3, order
            assert order[6:] == ["a"] * 3

    run(main())


def test_a_nodes_limit_per_minute_makes_tasks_go_elsewhere_and_then_wait() -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two:
            limited = msgspec.structs.replace(node(one, "limited"), capacity=Capacity(requests_per_minute=2))
            async with gateway(limited, node(two, "free"), strategy="round_robin") as running:
                places = [(await ask(running, CHAT, chat())).headers["x-fairlead-node"] for _ in range(8)]
                assert places.count("limited") == 2
            async with gateway(limited, queue=QueueConfig(max_wait_s=WaitLimits(normal=0.3))) as running:
                for _ in range(2):
                    assert (await ask(running, CHAT, chat())).status == 200
                assert (await ask(running, CHAT, chat())).status == 429

    run(main())


def test_how_long_a_task_waited_is_told() -> None:
    async def main() -> None:
        async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
            first = await later(running, "first", "normal", stream=True)
            second = await later(running, "second", "normal")
            await until(lambda: waiting(running) == 1)
            provider.release()
            await first
            answer = await second
            record = await ask(running, f"/v1/decisions/{answer.headers['x-fairlead-decision']}")  # type: ignore[attr-defined]
            assert record.json["queued_ms"] > 0
            assert "x-fairlead-queued-ms" in answer.headers  # type: ignore[attr-defined]

    run(main())


def test_the_pages_of_capacity_tell_nodes_queue_and_leases() -> None:
    async def main() -> None:
        async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
            first = await later(running, "first", "normal", stream=True)
            second = await later(running, "second", "batch")
            (told,) = (await ask(running, "/admin/nodes")).json["nodes"]
            assert (told["capacity"], told["leased"], told["utilization"]) == ({"slots": 1}, {"slots": 1}, 1.0)
            queue = (await ask(running, "/admin/queue")).json
            assert queue["classes"]["batch"]["waiting"] == 1
            assert queue["arrivals"]["stage"] == "calm"
            leases = (await ask(running, "/admin/leases")).json
            assert [one["node"] for one in leases["leases"]] == ["a"]
            assert leases["leases"][0]["priority"] == 4
            provider.release()
            await asyncio.gather(first, second)
            assert (await ask(running, "/admin/leases")).json["total"] == 0

    run(main())


def test_what_a_spike_asks_for_is_done_and_undone() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=HOLD) as one,
            FakeProvider(default=HOLD) as two,
            gateway(node(one, "a", slots=1), node(two, "b", slots=1)) as running,
        ):
            orchestrator, alarm = running.orchestrator, Alarm()
            orchestrator.balancer = alarm  # type: ignore[assignment]
            prefixes = orchestrator.prefixes
            assert prefixes is not None
            await until(lambda: prefixes.worth == 0.25)
            at_work = [await later(running, text, "normal", stream=True) for text in ("first", "second")]
            refused = await ask(running, CHAT, chat(), headers={"x-fairlead-priority": "batch"})
            assert (refused.status, refused.json["error"]["code"]) == (429, "load_shed")
            at_work.append(await later(running, "third", "normal"))  # others still wait
            assert (await ask(running, "/admin/queue")).json["arrivals"]["why"] == "too many"
            alarm.is_on = False
            await until(lambda: prefixes.worth == 1.0)
            batch = await later(running, "batch", "batch")
            one.release()
            two.release()
            assert {answer.status for answer in await asyncio.gather(*at_work, batch)} == {200}  # type: ignore[attr-defined]
            assert (
                'fairlead_events_total{event="load_stage",subject="spike"}'
                in (await ask(running, "/metrics")).body.decode()
            )

    run(main())
