"""Scaling by local model servers: real ones, that answer, and none that outlives its actuator."""

import asyncio
import http.client
from pathlib import Path

import pytest

from fairlead.actuators import Autoscaler, Processes, Report
from fairlead.local import process
from fairlead.local.process import LocalServer
from fairlead.scaling import FleetView, ScalingConfig, ScalingPolicy


def address(report: Report) -> str:
    assert report.url is not None
    return report.url.removeprefix("http://").removesuffix("/v1")


def answers(where: str) -> bool:
    connection = http.client.HTTPConnection(where, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_servers_come_and_go(replica: Path) -> None:
    async def come_and_go() -> None:
        actuator = Processes(replica, slots=1, context_tokens=256)
        first, second = await asyncio.gather(actuator.start("auto-1"), actuator.start("auto-2"))
        assert answers(address(first))
        assert answers(address(second))
        assert "already" in (await actuator.start("auto-1")).problem
        assert await actuator.stop("auto-1") == Report()
        assert await actuator.stop("auto-1") == Report()
        assert not answers(address(first))
        assert answers(address(second))
        await actuator.close()
        assert not answers(address(second))

    asyncio.run(come_and_go())


def test_a_start_that_is_cancelled_leaves_nothing(replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[LocalServer] = []
    begun = asyncio.Event()

    async def cancel() -> None:
        loop = asyncio.get_running_loop()

        def launch(gguf: Path) -> LocalServer:
            loop.call_soon_threadsafe(begun.set)
            started.append(LocalServer.start(gguf, context_tokens=256))
            return started[-1]

        actuator = Processes(replica)
        monkeypatch.setattr(actuator, "_launch", launch)
        task = asyncio.create_task(actuator.start("auto-1"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await actuator.close()

    asyncio.run(cancel())
    assert [server.running for server in started] == [False]


class Port:
    """A fleet without nodes, at which tasks wait."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.is_served = asyncio.Event()

    def view(self) -> FleetView:
        return FleetView(waiting=1)

    async def add(self, name: str, url: str | None) -> None:
        assert url is not None
        self.urls.append(url)
        self.is_served.set()

    def drain(self, name: str, is_draining: bool) -> None:
        raise AssertionError("there is nothing to drain")

    async def remove(self, name: str) -> None:
        raise AssertionError("there is nothing to remove")


def test_a_waiting_task_brings_a_real_server_up_and_cancelling_takes_it_down(replica: Path) -> None:
    async def scale() -> str:
        port = Port()
        policy = ScalingPolicy(ScalingConfig(min_nodes=0, max_nodes=1, node_slots=1))
        task = asyncio.create_task(Autoscaler(policy, Processes(replica, slots=1, context_tokens=256), port).run())
        await port.is_served.wait()
        where = port.urls[0].removeprefix("http://").removesuffix("/v1")
        assert answers(where)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return where

    assert not answers(asyncio.run(scale()))


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.actuators.processes.find_weights", lambda: None)
    assert "python -m fairlead.local" in asyncio.run(Processes().start("auto-1")).problem
    monkeypatch.setattr(process, "installed", lambda: False)
    assert "pip install 'fairlead[local]'" in asyncio.run(Processes(tmp_path / "none").start("auto-1")).problem
