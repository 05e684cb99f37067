"""llama.cpp's server: `/props`, `/v1/models`, and `/metrics` or `/slots`, either of which may be switched off.

A model that its server put to sleep (`--sleep-idle-seconds`) is woken by `/slots`, in many versions also by
`/metrics`, and kept awake by them; `/props` and `/v1/models` let it sleep.
"""

from fairlead.domain.report import LoadedModel
from fairlead.polling.metrics_page import MetricsTable
from fairlead.polling.told import PollError, Told, json_of, object_of, rows_of, size, slots, tasks, tokens

_TABLE = MetricsTable(
    "llama.cpp",
    "llamacpp:",
    {
        "requests_processing": "running",
        "requests_deferred": "waiting",
        "kv_cache_usage_ratio": "utilization",
        "prompt_tokens_cached_total": "cached_hits",
        "prompt_tokens_total": "cached_queries",
    },
)
_MAX_NAME = 500


def read_metrics(body: bytes) -> Told:
    """Return what the page tells. Raises PollError."""
    told, _ = _TABLE.read(body)
    fresh = told.pop("cached_queries", None)  # llama.cpp counts only the tokens that were not in its cache
    if fresh is not None and "cached_hits" in told:
        told["cached_queries"] = fresh + told["cached_hits"]
    return told


def read_props(body: bytes) -> Told:
    """Return the slots, and that nothing is loaded while the server sleeps. Raises PollError."""
    props = object_of(body)
    told: Told = {}
    total = slots(props.get("total_slots"))
    if total is not None:
        told["slots"] = total
    if props.get("is_sleeping") is True:
        told |= {"loaded": {}, "running": 0, "waiting": 0}
    if not told:
        raise PollError("holds no `total_slots`")
    return told


def read_slots(body: bytes) -> Told:
    """Return the slots and how many are at work: `is_processing`, or `state` above 0 in older versions."""
    rows = rows_of(json_of(body))
    busy = sum(row.get("is_processing") is True or bool(tasks(row.get("state"))) for row in rows)
    if not rows:
        raise PollError("holds no slots")
    return {"slots": len(rows), "running": busy}


def read_models(body: bytes) -> Told:
    """Return the models in memory: all that are listed, or those marked as loaded where there are many to choose from.

    Raises PollError.
    """
    loaded: dict[str, LoadedModel] = {}
    for row in rows_of(object_of(body).get("data")):
        name, status, meta = row.get("id"), row.get("status"), row.get("meta")
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            continue
        if isinstance(status, dict) and status.get("value") != "loaded":
            continue
        meta = meta if isinstance(meta, dict) else {}
        loaded[name] = LoadedModel(size_bytes=size(meta.get("size")), context_tokens=tokens(meta.get("n_ctx")))
    return {"loaded": loaded}
