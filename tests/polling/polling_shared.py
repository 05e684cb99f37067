"""Pages as real servers write them, and a poller whose time is moved by hand."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fairlead.config import NodeConfig, NodeKind
from fairlead.domain.report import NodeReport
from fairlead.polling import Poller
from fairlead.testing import FakeProvider, ManualClock, Reply

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 500.0
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.74e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 600.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 100.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="1",num_gpu_blocks="1000"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="m"} 0.0
"""
VLLM_IDLE = b'vllm:num_requests_running{model_name="m"} 0.0\nvllm:num_requests_waiting{model_name="m"} 0.0\n'
SGLANG = b"""\
# HELP sglang:token_usage The token usage
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.28
sglang:cache_hit_rate{model_name="m"} 0.0075
sglang:num_running_reqs{model_name="m"} 162.0
sglang:num_queue_reqs{model_name="m"} 2826.0
sglang:prompt_tokens_total{model_name="m"} 8.128902e+06
sglang:max_total_num_tokens{model_name="m"} 432000.0
"""
LLAMACPP = b"""\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 135
llamacpp:prompt_tokens_cached_total 240
llamacpp:requests_processing 2
llamacpp:requests_deferred 1
"""
PS = {
    "models": [
        {
            "name": "mistral:latest",
            "model": "mistral:latest",
            "size": 5137025024,
            "size_vram": 4137025024,
            "context_length": 4096,
            "expires_at": "2026-06-04T14:38:31.837530123-07:00",
        }
    ]
}


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def owned(owner: str, *names: str, **more: Any) -> bytes:
    """A list of models as their owner gives it."""
    return dumps({"data": [{"id": name, "owned_by": owner, **more} for name in names or ("m",)]})


PROPS = dumps({"default_generation_settings": {"n_ctx": 512}, "total_slots": 4, "is_sleeping": False})


class Naps:
    """A sleep that lasts until it is ended by hand; the clock then shows that it took its time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._begun: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()
        self._last: tuple[float, asyncio.Event] | None = None

    async def __call__(self, nap_s: float) -> None:
        over = asyncio.Event()
        self._begun.put_nowait((nap_s, over))
        await over.wait()

    async def next(self) -> float:
        """Wait until somebody sleeps, and return for how long."""
        self._last = await asyncio.wait_for(self._begun.get(), 10)
        return self._last[0]

    async def none_begins(self) -> bool:
        """Give everybody time to act, and return whether nobody went to sleep anew."""
        for _ in range(50):
            await asyncio.sleep(0)
        return self._begun.empty()

    def end(self) -> None:
        """Let that time go by."""
        assert self._last is not None
        nap_s, over = self._last
        self._clock.advance(nap_s)
        over.set()


class ReadClock(ManualClock):
    """Counts how often it is read: each poll begins with a look at it."""

    reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return super().__call__()


class Watched:
    """A poller with what it told."""

    def __init__(self, **settings: Any) -> None:
        self._polled_s = 0.0
        self.clock = ReadClock(100.0)
        self.naps = Naps(self.clock)
        self.reports: list[NodeReport] = []
        self.troubles: list[tuple[str, str]] = []
        self.busy: set[str] = set()
        self.poller = Poller(
            self.reports.append,
            lambda node, message: self.troubles.append((node, message)),
            self.busy.__contains__,
            clock=self.clock,
            sleep=self.naps,
            **settings,
        )

    async def polls(self, times: int = 1) -> list[float]:
        """Let the first poll and more go by, and return the times between them; the last nap still goes on."""
        await self.naps.next()
        self._polled_s = self.clock.now_s
        return [await self.again() for _ in range(times - 1)]

    async def again(self) -> float:
        """Let time go by until the node has been asked again, and return how much it took."""
        reads = self.clock.reads
        while self.clock.reads == reads:
            self.naps.end()
            at_s = self.clock.now_s
            await self.naps.next()
        gap_s, self._polled_s = at_s - self._polled_s, at_s
        return gap_s


def node_of(provider: FakeProvider, name: str = "gpu", **settings: Any) -> NodeConfig:
    kind = NodeKind.OLLAMA if provider.dialect == "ollama" else NodeKind.OPENAI
    return NodeConfig(name=name, url=provider.url, kind=kind, **settings)


@asynccontextmanager
async def watching(
    pages: dict[str, Reply | bytes], dialect: Any = "openai", **settings: Any
) -> AsyncIterator[tuple[Watched, FakeProvider]]:
    """A poller that has just begun to ask a node with these pages; no answer of a model may ever be asked for."""
    async with FakeProvider(dialect) as provider:
        set_pages(provider, pages)
        watched = Watched(timeout_s=settings.pop("timeout_s", 5.0))
        watched.poller.start(node_of(provider, **settings))
        try:
            yield watched, provider
        finally:
            await watched.poller.close()
        assert provider.attempts == 0


def set_pages(provider: FakeProvider, pages: dict[str, Reply | bytes]) -> None:
    for path, page in pages.items():
        provider.pages[path] = page if isinstance(page, Reply) else Reply(body=page)
