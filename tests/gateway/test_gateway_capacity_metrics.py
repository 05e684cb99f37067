"""What Prometheus reads of capacity: what is leased of each node, and who waits for room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway_shared import CHAT, ask, chat, gateway, node, run, until
from prometheus_client.parser import text_string_to_metric_families

from fairlead.admission.config import QueueConfig
from fairlead.config import Capacity
from fairlead.gateway import RunningGateway
from fairlead.telemetry.metrics import MetricsCollector
from fairlead.telemetry.prometheus import exposition
from fairlead.testing.provider import FakeProvider, Fate, Reply

Samples = dict[tuple[str, ...], float]


def read(text: bytes) -> Samples:
    """Return the value of each sample by its name and its labels' values, in the order of the labels' names."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation
        for sample in family.samples:
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


async def scraped(running: RunningGateway) -> Samples:
    return read((await ask(running, "/metrics")).body)


def written(running: RunningGateway) -> Samples:
    """Return what is written with the queue's state."""
    orchestrator = running.orchestrator
    return read(
        exposition(MetricsCollector(), orchestrator.fleet, None, orchestrator.lobby.queue.state(orchestrator.clock()))
    )


@asynccontextmanager
async def crowded(queue: QueueConfig | None = None) -> AsyncIterator[tuple[RunningGateway, list[int]]]:
    """Run a gateway with one slot, which is held, while two tasks wait; yields the statuses of all that end."""
    statuses: list[int] = []

    async with (
        FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
        gateway(node(provider, slots=1, poll=False), queue=queue or QueueConfig()) as running,
    ):
        line = running.orchestrator.lobby.queue

        async def say(priority: str) -> None:
            statuses.append((await ask(running, CHAT, chat(), headers={"x-fairlead-priority": priority})).status)

        async with asyncio.TaskGroup() as callers:
            callers.create_task(say("normal"))
            await until(lambda: provider.answering == 1)
            callers.create_task(say("batch"))
            callers.create_task(say("interactive"))
            await until(lambda: len(line) + len(statuses) == 2)
            yield running, statuses
            provider.default = Reply()
            provider.release()


def test_what_is_leased_of_each_node() -> None:
    async def main() -> None:
        async with crowded() as (running, _):
            samples = await scraped(running)
            assert samples["fairlead_leased_share", "a"] == 1
            assert samples["fairlead_leased", "a", "slots"] == samples["fairlead_capacity", "a", "slots"] == 1
            assert samples["fairlead_leased", "a", "tokens"] == 0
            assert ("fairlead_capacity", "a", "tokens") not in samples, "what is not known is not told"
            assert 0 < samples["fairlead_warmth", "a"] <= 1
            assert samples["fairlead_leases_expired_total",] == 0
        assert read(exposition(MetricsCollector(), running.orchestrator.fleet))["fairlead_leased_share", "a"] == 0

    run(main())


def test_what_a_node_is_known_to_have() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, poll=False)) as running:
            account = running.orchestrator.fleet.nodes["a"].account
            account.resize(Capacity(tokens=64_000, memory_bytes=2**30, requests_per_minute=60, usd_per_hour=1.5))
            samples = await scraped(running)
            told = {labels[2]: value for labels, value in samples.items() if labels[0] == "fairlead_capacity"}
            assert told == {"tokens": 64_000, "memory_bytes": 2**30, "requests_per_minute": 60, "usd_per_hour": 1.5}

    run(main())


def test_leases_whose_owners_vanished_are_counted() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, slots=2, poll=False)) as running:
            fleet = running.orchestrator.fleet
            now_s = running.orchestrator.clock()
            assert fleet.ledger.take(fleet.nodes["a"].account, "nobody", now_s, 5.0) is not None
            assert (await scraped(running))["fairlead_leased_share", "a"] == 0.5
            fleet.expire(now_s + 6.0)
            samples = await scraped(running)
            assert samples["fairlead_leases_expired_total",] == 1
            assert samples["fairlead_leased_share", "a"] == 0

    run(main())


def test_who_waits() -> None:
    async def main() -> None:
        async with crowded() as (running, statuses):
            samples = written(running)
            waiting = {kind: samples["fairlead_waiting", kind] for kind in ("interactive", "normal", "batch")}
            assert waiting == {"interactive": 1, "normal": 0, "batch": 1}
            assert samples["fairlead_waiting_bytes", "batch"] > 0
            assert samples["fairlead_oldest_wait_seconds", "batch"] >= 0
            assert samples["fairlead_oldest_wait_seconds", "normal"] == 0
            assert ("fairlead_expected_wait_seconds", "normal") in samples
            assert samples["fairlead_waited_total", "admitted"] == 0
        assert statuses == [200] * 3
        samples = written(running)
        assert samples["fairlead_waited_total", "admitted"] == 2
        assert not any(value for name, value in samples.items() if name[0].startswith("fairlead_waiting"))

    run(main())


def test_who_might_not_wait() -> None:
    async def main() -> None:
        async with crowded(QueueConfig(max_waiting=1)) as (running, statuses):
            samples = written(running)
            assert statuses == [429]
            assert samples["fairlead_waiting", "interactive"] == 1
            assert samples["fairlead_waiting", "batch"] == 0
            turned_away = samples["fairlead_waited_total", "evicted"] + samples["fairlead_queue_refused_total", "full"]
            assert turned_away == 1
            reasons = {name[1] for name in samples if name[0] == "fairlead_queue_refused_total"}
            assert reasons == {"deadline", "too_long", "full", "shed"}
        assert sorted(statuses) == [200, 200, 429]

    run(main())


def test_without_a_queue_nothing_is_said_of_one() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, poll=False)) as running:
            samples = read(exposition(MetricsCollector(), running.orchestrator.fleet))
            assert not any(name[0].startswith(("fairlead_wait", "fairlead_queue")) for name in samples)
            assert ("fairlead_leased_share", "a") in samples

    run(main())
