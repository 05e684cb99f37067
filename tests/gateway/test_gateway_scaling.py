"""A gateway whose nodes come and go with the work: a real program starts and stops them."""

import asyncio
import sys
from pathlib import Path

import pytest
from gateway_shared import CHAT, Alarm, ask, chat, gateway, node, run, until

from fairlead.config import ActuatorKind, ScalingConfig, StateConfig
from fairlead.testing.provider import FakeProvider, Fate, Reply

SCRIPT = """
import pathlib, sys
verb, name = sys.argv[-2:]
with open(sys.argv[1], "a") as log:
    log.write(f"{verb} {name}\\n")
if verb == "up":
    print(sys.argv[2])
"""


def scaling(tmp_path: Path, url: str, **more: object) -> ScalingConfig:
    script = tmp_path / "node.py"
    script.write_text(SCRIPT)
    settings = {
        "actuator": ActuatorKind.COMMAND,
        "command": (sys.executable, str(script), str(tmp_path / "log"), url),
        "max_nodes": 2,
        "node_slots": 1,
        "interval_s": 0.1,
        "cooldown_s": 0.2,
        "cold_start_s": 0.1,
    }
    return ScalingConfig(**(settings | more))  # type: ignore[arg-type]


def test_a_node_is_started_for_those_who_wait_and_stopped_when_it_is_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as first, FakeProvider() as second:
            settings = scaling(tmp_path, second.url)
            async with gateway(node(first, slots=1), scaling=settings) as running:
                log = tmp_path / "log"
                asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}", stream=True))) for n in range(4)]
                await until(lambda: "auto-1" in running.orchestrator.fleet.nodes, 15.0)
                await until(lambda: second.attempts == 3, 10.0)
                told = (await ask(running, "/admin/nodes")).json["scaling"]
                assert any(one["what"] == "start" and one["node"] == "auto-1" for one in told["history"])
                first.release()
                assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
                await until(lambda: log.read_text().splitlines()[:2] == ["up auto-1", "down auto-1"], 15.0)

    run(main(), 60.0)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider:
            settings = scaling(tmp_path, "", actuator=ActuatorKind.DRY_RUN, command=None)
            async with gateway(node(provider, slots=1), scaling=settings) as running:
                asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}", stream=True))) for n in range(3)]
                for _ in range(200):
                    told = (await ask(running, "/admin/nodes")).json["scaling"]
                    if told["target"] == 2:
                        break
                    await asyncio.sleep(0.05)
                assert told["target"] == 2
                assert told["why"]
                assert list(running.orchestrator.fleet.nodes) == ["a"]
                provider.release()
                await asyncio.gather(*asking)

    run(main(), 60.0)


def test_a_node_that_cannot_be_used_is_stopped_again_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider:
            settings = scaling(tmp_path, "http://127.0.0.1:9")  # nobody answers there
            async with gateway(node(provider, slots=1), scaling=settings) as running:
                asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}", stream=True))) for n in range(3)]
                log = tmp_path / "log"
                await until(lambda: log.exists() and "down auto-1" in log.read_text(), 20.0)
                assert list(running.orchestrator.fleet.nodes) == ["a"]
                await until(lambda: "cannot be used" in caplog.text)
                provider.release()
                assert {answer.status for answer in await asyncio.gather(*asking)} == {200}

    run(main(), 60.0)


def test_a_node_that_was_started_before_a_restart_is_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        state = StateConfig(path=str(tmp_path / "state.db"))
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as first, FakeProvider() as second:
            settings = scaling(tmp_path, second.url, cooldown_s=60.0)
            async with gateway(node(first, slots=1), scaling=settings, state=state) as running:
                asking = [asyncio.create_task(ask(running, CHAT, chat(f"{n}", stream=True))) for n in range(4)]
                await until(lambda: "auto-1" in running.orchestrator.fleet.nodes, 15.0)
                first.release()
                await asyncio.gather(*asking)
            async with gateway(node(first, slots=1), scaling=settings, state=state) as running:
                await until(lambda: "auto-1" in running.orchestrator.fleet.nodes, 5.0)
            assert (tmp_path / "log").read_text().splitlines() == ["up auto-1"]

    run(main(), 60.0)


def test_a_spike_has_the_size_of_the_fleet_looked_at_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            settings = scaling(tmp_path, "", actuator=ActuatorKind.DRY_RUN, command=None, interval_s=3600.0)
            async with gateway(node(provider, slots=1), scaling=settings) as running:
                scaler, looked = running.gateway._admin.capacity.scaler, asyncio.Event()
                assert scaler is not None

                async def step() -> None:
                    looked.set()

                await until(lambda: scaler.last is not None)
                scaler.step = step  # type: ignore[method-assign]
                running.orchestrator.balancer = Alarm()  # type: ignore[assignment]
                await asyncio.wait_for(looked.wait(), 5.0)

    run(main())
