"""More work than a node has slots: who goes first, gives way, waits, is refused. `python examples/capacity.py`."""

import asyncio
import json
from http.client import HTTPConnection
from typing import Any

from fairlead.config import loads
from fairlead.gateway import RunningGateway
from fairlead.testing import FakeProvider, Reply
from fairlead.testing.provider import Fate

CONFIG = """
listen: 127.0.0.1:0
nodes:
  - {{name: gpu-1, url: "{url}", models: [m], capacity: {{slots: 2, tokens: 4000}}}}
"""


def call(port: int, path: str, prompt: str = "", priority: str = "normal") -> tuple[int, Any]:
    """Ask the gateway, with a prompt or for a page; returns the status and the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "x-fairlead-priority": priority}
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}) if prompt else None
    connection.request("POST" if prompt else "GET", path, body, headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


async def standing(port: int) -> tuple[list[str], dict[str, int]]:
    """Return the classes of the tasks that are on the node, and how many of each wait."""
    _, leases = await asyncio.to_thread(call, port, "/admin/leases")
    _, queue = await asyncio.to_thread(call, port, "/admin/queue")
    names = {1: "interactive", 4: "normal", 8: "batch"}
    waiting = {name: one["waiting"] for name, one in queue["classes"].items() if one["waiting"]}
    return sorted(names[one["priority"]] for one in leases["leases"]), waiting


async def main() -> None:
    """Send one task after the other while the node is busy, and look where each goes."""
    async with FakeProvider(models=("m",), default=Reply(fate=Fate.HOLD)) as server:
        running = RunningGateway(loads(CONFIG.format(url=server.url)))
        await running.start()
        tasks = []
        on_node, waiting = await standing(running.port)
        for number, priority in enumerate(("batch", "batch", "interactive", "interactive", "normal"), 1):
            ask = asyncio.to_thread(call, running.port, "/v1/chat/completions", f"task {number}", priority)
            tasks.append(asyncio.create_task(ask))
            before = None
            while (on_node, waiting) != before or len(on_node) + sum(waiting.values()) < number:  # it is on its way
                before = on_node, waiting
                on_node, waiting = await standing(running.port)
            print(f"task {number}, {priority:<13}on the node: {', '.join(on_node):<27}waiting: {waiting or 'nobody'}")
        assert (on_node, waiting) == (["interactive", "interactive"], {"normal": 1, "batch": 2})

        status, told = await asyncio.to_thread(call, running.port, "/v1/chat/completions", "word " * 5000)
        print(f"a task that is too large: {status}, {told['error']['message']}")
        assert status == 400

        server.release()
        assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 5
        print(f"then comes {server.requests[-3].asked.prompt}, and the batch last")
        assert server.peak_answering <= 2
        await running.stop()


if __name__ == "__main__":
    asyncio.run(main())
