"""The loop: what the policy says is done, what goes wrong is told and survived, and cancelling leaves nothing."""

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from fairlead.actuators import Autoscaler, Command, DryRun, Processes, Report, actuator_of
from fairlead.actuators.history import KEPT, Entry, History
from fairlead.errors import ConfigError, FairleadError
from fairlead.scaling import ActuatorKind, FleetView, Phase, ScaledNode, ScalingConfig, ScalingPolicy
from fairlead.testing import ManualClock


class Actuator:
    """Starts at once, or when it is let; remembers what runs."""

    outlives = True

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.problem = ""
        self.stays = ""
        self.gate: asyncio.Event | None = None
        self.is_closed = False

    async def start(self, name: str) -> Report:
        if self.gate is not None:
            await self.gate.wait()
        if self.problem:
            return Report(self.problem)
        self.running.add(name)
        return Report(url=f"http://{name}:8000/v1")

    async def stop(self, name: str) -> Report:
        if self.stays:
            return Report(self.stays)
        self.running.discard(name)
        return Report()

    async def close(self) -> None:
        self.is_closed = True
        self.running.clear()


class Port:
    """A fleet whose demand is told."""

    def __init__(self, *nodes: str) -> None:
        self.nodes = {name: ScaledNode(name, 4) for name in nodes}
        self.urls: dict[str, str | None] = {}
        self.arrived = 0
        self.waiting = 0
        self.problem: Exception | None = None
        self.refuses = ""
        self.refused: set[str] = set()

    def view(self) -> FleetView:
        if self.problem is not None:
            raise self.problem
        nodes = tuple(self.nodes.values())
        return FleetView(nodes=nodes, arrived=self.arrived, waiting=self.waiting, service_s=1.0)

    async def add(self, name: str, url: str | None) -> None:
        if self.refuses or name in self.refused:
            raise FairleadError(self.refuses)
        self.nodes[name], self.urls[name] = ScaledNode(name, 4), url

    def drain(self, name: str, is_draining: bool) -> None:
        phase = Phase.DRAINING if is_draining else Phase.SERVING
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], phase=phase)

    async def remove(self, name: str) -> None:
        del self.nodes[name]


CONFIG = ScalingConfig(max_nodes=6, max_step=2, node_slots=4, cooldown_s=60.0, cold_start_s=30.0, interval_s=10.0)


class Scene:
    """An autoscaler with its parts and a clock that is moved by hand."""

    def __init__(self, *nodes: str, config: ScalingConfig = CONFIG, actuator: object | None = None) -> None:
        self.clock, self.port, self.actuator = ManualClock(1000.0), Port(*nodes), Actuator()
        self.scaler = Autoscaler(ScalingPolicy(config), actuator or self.actuator, self.port, clock=self.clock)  # type: ignore[arg-type]

    async def steps(self, n: int, rate: float, *, settle: bool = True) -> None:
        for _ in range(n):
            self.clock.advance(10.0)
            self.port.arrived += round(rate * 10.0)
            await self.scaler.step()
            if settle:
                await self.scaler.settle()

    def said(self, what: str) -> list[str]:
        return [entry.said for entry in self.scaler.history if entry.what == what]


def run(job: Coroutine[Any, Any, None]) -> None:
    asyncio.run(job)


def test_it_grows_and_shrinks_and_leaves_what_it_did_not_start() -> None:
    scene = Scene("by-hand")

    async def day() -> None:
        await scene.steps(5, 1.0)
        await scene.steps(30, 15.0)
        grown = set(scene.actuator.running)
        assert len(grown) >= 3
        assert scene.scaler.own == {name: f"http://{name}:8000/v1" for name in sorted(grown)}
        assert scene.port.urls["auto-1"] == "http://auto-1:8000/v1"
        await scene.steps(400, 0.1)
        assert scene.actuator.running < grown

    run(day())
    assert "by-hand" in scene.port.nodes
    assert set(scene.port.nodes) == scene.actuator.running | {"by-hand"}
    assert scene.said("start")[0] == "auto-1 serves after 0.0 s"
    assert scene.said("stop")[0].endswith(" was stopped")
    plans = [entry for entry in scene.scaler.history if entry.what == "plan"]
    assert all(plan.target <= 6 and abs(plan.change) <= 2 for plan in plans)
    assert "tasks/s may come" in plans[0].said


def test_starting_nodes_are_counted_while_a_cold_start_goes_on() -> None:
    scene = Scene("by-hand")

    async def slow() -> None:
        scene.actuator.gate = asyncio.Event()
        await scene.steps(40, 8.0, settle=False)
        assert not scene.actuator.running
        planned = sum(plan.change for plan in scene.scaler.history if plan.what == "plan")
        assert planned <= 5
        scene.actuator.gate.set()
        await scene.scaler.settle()
        assert len(scene.actuator.running) == planned

    run(slow())
    assert "auto-1 serves after" in scene.said("start")[0]


def test_a_failed_start_is_told_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("by-hand")
    scene.actuator.problem = "no quota left"

    async def fail() -> None:
        with caplog.at_level(logging.WARNING, "fairlead"):
            await scene.steps(60, 8.0)
        assert len(scene.port.nodes) == 1
        scene.actuator.problem = ""
        await scene.steps(60, 8.0)
        assert len(scene.port.nodes) > 1

    run(fail())
    assert "auto-1 was not started: no quota left" in scene.said("trouble")
    assert 4 <= len(scene.said("trouble")) <= 16  # it pauses, twice as long each time
    assert "no quota left" in caplog.text


def test_a_started_node_that_the_fleet_does_not_take_is_stopped() -> None:
    scene = Scene("by-hand")
    scene.port.refuses = "it does not answer"
    run(scene.steps(5, 8.0))
    assert not scene.actuator.running
    assert scene.scaler.own == {}
    assert "cannot be used: it does not answer" in scene.said("trouble")[0]


def test_a_node_that_does_not_go_is_told_and_taken_down_later() -> None:
    scene = Scene("by-hand")

    async def stubborn() -> None:
        await scene.steps(20, 15.0)
        grown = set(scene.actuator.running)
        scene.actuator.stays = "the cloud does not answer"
        await scene.steps(200, 0.1)
        assert scene.actuator.running == grown
        assert len(scene.port.nodes) < len(grown)
        scene.actuator.stays = ""
        await scene.steps(40, 0.1)
        assert scene.actuator.running == set(scene.port.nodes) - {"by-hand"}
        assert set(scene.scaler.own) == scene.actuator.running

    run(stubborn())
    assert "may still be running: the cloud does not answer" in scene.said("trouble")[0]


def test_nothing_that_goes_wrong_ends_the_loop() -> None:
    class Broken(DryRun):
        async def start(self, name: str) -> Report:
            raise RuntimeError(f"a bug at {name}")

    scene = Scene("by-hand", actuator=Broken())

    async def broken() -> None:
        scene.port.problem = RuntimeError("no view")
        await scene.steps(1, 1.0)
        scene.port.problem = None
        await scene.steps(10, 15.0)

    run(broken())
    assert scene.said("trouble")[0] == "no plan was carried out: RuntimeError: no view"
    assert "RuntimeError: a bug at auto-1" in scene.said("trouble")[1]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("by-hand", actuator=DryRun())
    with caplog.at_level(logging.INFO, "fairlead"):
        run(scene.steps(100, 15.0))
    assert set(scene.port.nodes) == {"by-hand"}
    assert "start 2, up to 3 nodes" in scene.said("plan")[0]
    assert len(scene.said("plan")) < 10  # a plan that is repeated is said once
    assert "scaling: start 2, up to 3 nodes" in caplog.text


def test_cancelling_ends_what_is_under_way_and_closes_the_actuator() -> None:
    scene = Scene("by-hand")
    scene.port.waiting = 1000

    async def forever() -> None:
        scene.actuator.gate = asyncio.Event()
        slept: list[float] = []
        turn = asyncio.Event()

        async def sleep(wait_s: float) -> None:
            slept.append(wait_s)
            turn.set()
            await asyncio.Event().wait()

        clock = ManualClock(1003.0)
        scaler = Autoscaler(ScalingPolicy(CONFIG), scene.actuator, scene.port, clock=clock, sleep=sleep)
        task = asyncio.create_task(scaler.run())
        await turn.wait()
        assert slept == [7.0]  # to the end of a window
        assert scaler.last is not None
        assert scaler.last.start == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(forever())
    assert scene.actuator.is_closed
    assert not scene.actuator.running


def test_a_snapshot_remembers_which_nodes_may_be_stopped() -> None:
    scene, other = Scene("by-hand"), Scene()

    async def restart() -> None:
        await scene.steps(30, 15.0)
        other.scaler.restore(json.loads(json.dumps(scene.scaler.snapshot())))
        other.clock.advance(300.0)
        other.port.nodes = dict(scene.port.nodes)
        other.actuator.running = set(scene.actuator.running)
        await other.steps(400, 0.1)

    run(restart())
    assert other.scaler.own.keys() < scene.scaler.own.keys()
    assert "by-hand" in other.port.nodes


def test_the_configuration_names_the_actuator() -> None:
    def made(kind: ActuatorKind, command: tuple[str, ...] | None = None) -> object:
        return actuator_of(ScalingConfig(actuator=kind, command=command))

    assert made(ActuatorKind.NONE) is None
    assert isinstance(made(ActuatorKind.DRY_RUN), DryRun)
    assert isinstance(made(ActuatorKind.PROCESSES), Processes)
    assert isinstance(made(ActuatorKind.COMMAND, ("scale.sh",)), Command)
    with pytest.raises(ConfigError, match=r"scaling\.command"):
        made(ActuatorKind.COMMAND)


def test_the_history_is_bounded() -> None:
    history = History()
    for index in range(KEPT + 10):
        history.add(Entry(at_s=float(index), what="plan", said="so"))
    assert len(history.entries()) == KEPT
    assert history.entries()[0].at_s == 10.0


def test_nodes_that_outlived_a_restart_join_again_and_those_that_did_not_are_stopped() -> None:
    scene = Scene()
    scene.actuator.running |= {"auto-1", "auto-2"}
    scene.scaler.restore({"policy": scene.scaler.snapshot()["policy"], "own": {"auto-1": None, "auto-2": None}})
    scene.port.refused.add("auto-2")
    run(scene.scaler.rejoin())
    assert "auto-1" in scene.port.nodes
    assert list(scene.scaler.own) == ["auto-1"]
    assert scene.actuator.running == {"auto-1"}


@pytest.mark.parametrize("data", [{}, {"policy": 1, "own": {}}, {"policy": {}, "own": {}}, 7])
def test_a_damaged_snapshot_is_told(data: Any) -> None:
    with pytest.raises(FairleadError, match="cannot be used"):
        Scene().scaler.restore(data)
