"""Faults on nodes under load, in seconds: every request gets one right answer or one explicit error.

What happens is planned by seeds and by counts of requests, not by the clock. The long runs are in the soak test.
"""

import asyncio
from collections import Counter
from pathlib import Path

from chaos_callers import asks_of
from chaos_checker import Verdict
from chaos_load import Load
from chaos_nodes import calm, crashes, episodes_of, one_after_another, places, storm
from chaos_shared import (
    check_rest,
    check_wires,
    configuration,
    gateway_here,
    gateway_process,
    recovered,
    report,
    run,
)

COMPLETE_SHARE = 0.999
"""With one of three nodes failing at a time."""
CALLERS = 12


def test_with_one_of_three_nodes_failing_at_a_time_nearly_all_are_answered() -> None:
    async def main() -> None:
        async with places(3, seed=1) as nodes, gateway_here(configuration(nodes)) as port:
            load = Load(port, asks_of(1), CALLERS)
            load.start()
            await one_after_another(nodes, load, episodes_of(1, 9, 3, 40), lambda: recovered(port))
            await load.stop()
            report("one of three", load, check_wires(nodes), await check_rest(port, load))
            assert load.tally.complete_share >= COMPLETE_SHARE

    run(main(), 60.0)


def test_with_random_faults_everywhere_all_are_answered_or_told() -> None:
    async def main() -> None:
        async with places(4, seed=2) as nodes, gateway_here(configuration(nodes)) as port:
            load = Load(port, asks_of(2, leaving=0.1), CALLERS)
            storm(nodes, 2, 0.05)
            load.start()
            await load.reached(600)
            await calm(nodes)
            await recovered(port)
            await load.stop()
            report("everywhere", load, check_wires(nodes), await check_rest(port, load))
            assert load.tally.verdicts[Verdict.COMPLETE] > 100

    run(main(), 60.0)


def test_servers_that_crash_and_come_back_leave_nothing_behind() -> None:
    async def main() -> None:
        async with places(3, seed=3) as nodes, gateway_here(configuration(nodes)) as port:
            load = Load(port, asks_of(3), CALLERS)
            load.start()
            await crashes(nodes, load, seed=3, count=5, requests=40)
            await recovered(port)
            await load.stop()
            report("crashes", load, check_wires(nodes), await check_rest(port, load))
            assert load.tally.verdicts[Verdict.COMPLETE] > 200

    run(main(), 60.0)


def test_the_end_of_the_gateway_under_load_is_told_to_everybody(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            places(3, seed=4, pause_s=0.1) as nodes,
            gateway_process(tmp_path, configuration(nodes, drain_s=0.5)) as process,
        ):
            load = Load(process.port, asks_of(4, longest=200), 40)
            load.start()
            await load.reached(40)
            load.is_ending = True
            process.process.terminate()
            await load.gone()
            assert await asyncio.wait_for(process.process.wait(), 10.0) == 0
            report("the end", load, check_wires(nodes), Counter())
            assert load.tally.turned_away
            assert load.tally.verdicts[Verdict.BROKEN] + load.tally.verdicts[Verdict.REFUSED]

    run(main(), 60.0)
