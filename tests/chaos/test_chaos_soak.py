"""The long chaos: a gateway in a process of its own, many seeds, tens of thousands of requests, and flat memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest
from chaos_callers import asks_of
from chaos_checker import Verdict
from chaos_load import Load
from chaos_nodes import EPISODES, calm, crashes, episodes_of, one_after_another, places, storm
from chaos_processes import process_places
from chaos_shared import (
    GatewayProcess,
    check_rest,
    check_wires,
    configuration,
    gateway_process,
    recovered,
    report,
    run,
)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

COMPLETE_SHARE = 0.999
"""With one of three nodes failing at a time."""
CALLERS = 24
LIMIT_S = 3000.0
GROWTH_SHARE, GROWTH_MB = 0.05, 2.0
"""How much memory may grow from the middle third of a run to the last: noise, and what ends when a cache is full."""


@asynccontextmanager
async def memory_watched(process: GatewayProcess) -> AsyncIterator[list[float]]:
    """Sample the gateway's memory; over the last two thirds it must be flat."""
    samples: list[float] = []

    async def sample() -> None:
        while True:
            samples.append(process.rss_mb())
            await asyncio.sleep(0.5)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    third = len(samples) // 3
    middle, last = median(samples[third : 2 * third]), median(samples[2 * third :])
    print(f"memory: {samples[0]:.1f} MB at first, {middle:.1f} MB, {last:.1f} MB at the end")  # noqa: T201
    assert last <= middle * (1 + GROWTH_SHARE) + GROWTH_MB


@pytest.mark.parametrize("seed", [11, 12])
def test_one_of_three_nodes_failing_for_long(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        async with places(3, seed) as nodes, gateway_process(tmp_path, configuration(nodes)) as process:
            load = Load(process.port, asks_of(seed), CALLERS)
            load.start()
            async with memory_watched(process):
                plan = episodes_of(seed, 6 * len(EPISODES), 3, 200)
                await one_after_another(nodes, load, plan, lambda: recovered(process.port))
            await load.stop()
            report(f"one of three, seed {seed}", load, check_wires(nodes), await check_rest(process.port, load))
            assert load.tally.complete_share >= COMPLETE_SHARE

    run(main(), LIMIT_S)


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_random_faults_everywhere_for_long(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        async with places(5, seed) as nodes, gateway_process(tmp_path, configuration(nodes)) as process:
            load = Load(process.port, asks_of(seed, leaving=0.08), CALLERS)
            load.start()
            for share in (0.02, 0.3, 0.1):  # the worst first, so that whatever keeps a record of it is full
                storm(nodes, seed, share)
                await load.more(2000)
            async with memory_watched(process):
                for turn in range(6):
                    storm(nodes, seed + turn, 0.1)
                    await load.more(1500)
                    await calm(nodes)
                    await recovered(process.port)
            await load.stop()
            report(f"everywhere, seed {seed}", load, check_wires(nodes), await check_rest(process.port, load))

    run(main(), LIMIT_S)


def test_servers_killed_and_begun_anew_for_long(tmp_path: Path) -> None:
    async def main() -> None:
        async with process_places(4, 31) as nodes, gateway_process(tmp_path, configuration(nodes)) as process:
            load = Load(process.port, asks_of(31), CALLERS)
            load.start()
            async with memory_watched(process):
                await crashes(nodes, load, seed=31, count=30, requests=300)
                await recovered(process.port)
            await load.stop()
            kills = Counter({"kill -9": sum(node.killed for node in nodes)})
            report("killed", load, kills, await check_rest(process.port, load))
            assert load.tally.verdicts[Verdict.COMPLETE] > load.tally.judged // 2

    run(main(), LIMIT_S)


@pytest.mark.parametrize("seed", range(41, 51))
def test_the_end_under_load_and_faults(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        drain_s = 0.2 + 0.3 * (seed % 3)
        async with (
            places(3, seed, pause_s=0.02 * (seed % 5)) as nodes,
            gateway_process(tmp_path, configuration(nodes, drain_s=drain_s)) as process,
        ):
            load = Load(process.port, asks_of(seed, longest=200), 60)
            storm(nodes, seed, 0.1)
            load.start()
            await load.reached(200)
            load.is_ending = True
            process.process.terminate()
            await load.gone()
            assert await asyncio.wait_for(process.process.wait(), 10.0) == 0
            report(f"the end, seed {seed}", load, check_wires(nodes), Counter())
            assert load.tally.turned_away

    run(main(), LIMIT_S)
