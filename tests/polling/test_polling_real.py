"""A real llama.cpp server tells what it has; skips, visibly, without weights."""

import asyncio
import http.client
from pathlib import Path

from polling_shared import Watched

from fairlead.config import NodeConfig
from fairlead.domain import Capacity
from fairlead.local.process import LocalServer
from fairlead.polling import learnt_capacity


def test_a_real_server_tells_its_slots_its_model_and_its_work(replica: Path) -> None:
    async def scenario(server: LocalServer) -> None:
        watched = Watched()
        watched.poller.start(NodeConfig(name="real", url=server.url))
        await watched.polls()
        [first] = watched.reports
        assert (first.kind, first.slots, first.running) == ("llama.cpp", 3, None)
        assert first.loaded is not None
        assert first.loaded["twin"].context_tokens == 512
        assert (first.loaded["twin"].size_bytes or 0) > 1_000_000
        assert learnt_capacity(first, Capacity()) == Capacity(slots=3)
        watched.busy.add("real")
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        body = '{"messages":[{"role":"user","content":"count"}],"stream":true,"ignore_eos":true}'
        connection.request("POST", "/v1/chat/completions", body)
        assert connection.getresponse().readline().startswith(b"data: ")
        await watched.again()
        connection.close()
        second = watched.reports[-1]
        assert (second.running, second.waiting) == (1, 0)
        assert second.utilization == 1 / 3
        assert second.cached_queries is not None
        assert watched.troubles == []
        await watched.poller.close()

    with LocalServer.start(replica, "twin", parallel=3, context_tokens=512) as server:
        asyncio.run(scenario(server))
