"""SGLang's `/metrics` (where it runs with `--enable-metrics`) and `/get_server_info`."""

from fairlead.polling.metrics_page import MetricsTable
from fairlead.polling.told import PollError, Told, object_of, slots, tokens

_TABLE = MetricsTable(
    "SGLang",
    "sglang:",
    {
        "num_running_reqs": "running",
        "num_queue_reqs": "waiting",
        "token_usage": "utilization",
        "max_total_num_tokens": "tokens",
        "cached_tokens_total": "cached_hits",
        "prompt_tokens_total": "cached_queries",
        "cache_hit_rate": "cached_share",
    },
)


def read_metrics(body: bytes) -> Told:
    """Return what the page tells. Raises PollError."""
    told, _ = _TABLE.read(body)
    return told


def read_server_info(body: bytes) -> Told:
    """Return the capacity that the page tells; that of the cache is one engine's. Raises PollError."""
    info = object_of(body)
    told: Told = {}
    most = slots(info.get("max_running_requests"))
    if most is not None:
        told["slots"] = most
    each = tokens(info.get("max_total_num_tokens"))
    total = tokens((each or 0) * (slots(info.get("dp_size")) or 1))
    if total is not None:
        told["tokens"] = total
    if not told:
        raise PollError("holds none of SGLang's numbers")
    return told
