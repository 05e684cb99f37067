"""vLLM's `/metrics`, of its first engine (V0) and its second (V1), with any number of engines side by side."""

from fairlead.polling.metrics_page import MetricsTable
from fairlead.polling.told import Told, tokens

_CACHE = "cache_config_info"
_TABLE = MetricsTable(
    "vLLM",
    "vllm:",
    {
        "num_requests_running": "running",
        "num_requests_waiting": "waiting",
        "kv_cache_usage_perc": "utilization",
        "gpu_cache_usage_perc": "utilization",
        "prefix_cache_hits_total": "cached_hits",
        "gpu_prefix_cache_hits_total": "cached_hits",
        "prefix_cache_queries_total": "cached_queries",
        "gpu_prefix_cache_queries_total": "cached_queries",
        "gpu_prefix_cache_hit_rate": "cached_share",
    },
    extra=[_CACHE],
)


def read_metrics(body: bytes) -> Told:
    """Return what the page tells. Raises PollError."""
    told, samples = _TABLE.read(body)
    sizes = [_cache_tokens(sample.labels) for sample in samples if sample.name == _CACHE]
    total = tokens(sum(filter(None, sizes)))
    if total is not None and None not in sizes:
        told["tokens"] = total
    return told


def _cache_tokens(labels: dict[str, str]) -> int | None:
    """Return the size of one engine's KV cache; some versions write `None` for its blocks."""
    whole, blocks, each = (_label(labels, name) for name in ("kv_cache_size_tokens", "num_gpu_blocks", "block_size"))
    return whole or (blocks * each if blocks and each else None)


def _label(labels: dict[str, str], name: str) -> int | None:
    text = labels.get(name, "")
    return tokens(int(text)) if text.isascii() and text.isdecimal() and len(text) < 20 else None
