"""What is found out about a real llama.cpp server by asking it; skips, visibly, without weights."""

import asyncio
from pathlib import Path

from fairlead.backends.http_backend import HttpBackend
from fairlead.config import NodeConfig
from fairlead.dialects.contract import Dialect
from fairlead.domain.rescue import Continuation
from fairlead.health.config import CheckingConfig
from fairlead.local.process import LocalServer
from fairlead.local.weights import ALIAS
from fairlead.orchestrator.probing import ANSWER_TOKENS, ProbeCosts, probe_continuation, probe_node
from fairlead.polling.checking import NodeChecker


def test_llama_cpp_goes_on_from_a_trailing_message(full: LocalServer) -> None:
    async def scenario() -> None:
        backend = HttpBackend(full.url, Dialect.OPENAI)
        probe = await probe_node(backend, ALIAS, 60.0)
        assert (probe.is_reachable, probe.status, probe.trouble) == (True, 200, "")
        assert probe.first_token_s is not None
        assert (probe.finish_reason, probe.has_end_mark, probe.has_usage) == ("length", True, True)
        assert probe.unknown_model_status == 200  # it has one model, and does not look at names
        assert probe.malformed_status == 400
        assert probe.continuation is Continuation.TRAILING
        assert probe.costs == ProbeCosts(5, 3 * ANSWER_TOKENS + 8 + 1)
        await backend.close()

    asyncio.run(scenario())


def test_so_does_a_replica_whose_words_are_nonsense(replica: Path) -> None:
    async def scenario(server: LocalServer) -> None:
        backend = HttpBackend(server.url, Dialect.OPENAI)
        assert await probe_continuation(backend, "tiny", 60.0) is Continuation.TRAILING
        await backend.close()

    with LocalServer.start(replica, "tiny", context_tokens=512) as server:
        asyncio.run(scenario(server))


def test_a_real_server_is_well_until_it_is_gone(replica: Path) -> None:
    async def scenario(server: LocalServer) -> None:
        told: asyncio.Queue[tuple[str, bool, str]] = asyncio.Queue()
        checker = NodeChecker(lambda *result: told.put_nowait(result), CheckingConfig(interval_s=0.05, timeout_s=5.0))
        checker.start(NodeConfig(name="real", url=server.url))
        assert await asyncio.wait_for(told.get(), 10) == ("real", True, "")
        await asyncio.to_thread(server.stop)
        async with asyncio.timeout(10):
            while (await told.get())[1]:
                pass
        await checker.close()

    with LocalServer.start(replica, "tiny", context_tokens=512) as server:
        asyncio.run(scenario(server))
