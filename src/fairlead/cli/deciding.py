"""One decision as the gateway would make it, with nothing sent: on a fleet without history, built for the occasion."""

import asyncio
from typing import Any

import msgspec

from fairlead.categories import detector_named
from fairlead.clock import steady_s
from fairlead.config import Config, NodeConfig, NodeKind
from fairlead.discovery import Kind, ModelSeen, list_models
from fairlead.domain import Task, TaskCategory
from fairlead.engine.decision import describe
from fairlead.engine.fleet import AUTO
from fairlead.errors import FairleadError, NoModelError
from fairlead.orchestrator.build import build_fleet
from fairlead.rng import key_of

_CHARS_PER_TOKEN = 4
_ASK_S = 2.0


def decide_once(
    config: Config, prompt: str, *, model: str = AUTO, category: TaskCategory | None = None, **wishes: float | None
) -> dict[str, Any]:
    """Return a decision in full; nodes that list no models are asked for them. `wishes` are those of a `Task`.

    The same prompt and seed give the same decision. Raises RoutingError where no candidate is left.
    """
    seen, silent = asyncio.run(ask_nodes([node for node in config.nodes if node.models is None]))
    task = Task(
        id="preview",
        key=key_of(prompt),
        category=detector_named(config.detector).detect(prompt) if category is None else category,
        model=model,
        input_tokens=len(prompt) // _CHARS_PER_TOKEN,
    )
    task = msgspec.structs.replace(task, **wishes)
    now_s = steady_s()
    try:
        record: dict[str, Any] = describe(build_fleet(config, seen, now_s).decide(task, now_s), shown=None)
    except NoModelError as error:
        raise NoModelError("\n".join([str(error), *(f"{name}: {why}" for name, why in silent.items())])) from None
    unasked = [{"model": "?", "node": name, "reason": "tells no models", "detail": why} for name, why in silent.items()]
    record["rejected"] = [*record["rejected"], *unasked]
    return record


async def ask_nodes(nodes: list[NodeConfig]) -> tuple[dict[str, tuple[ModelSeen, ...]], dict[str, str]]:
    """Ask nodes for their models, all at once; return the answers, and what the others said instead."""
    answers = await asyncio.gather(*map(_ask_one, nodes))
    seen = {node.name: said for node, said in zip(nodes, answers, strict=True) if not isinstance(said, str)}
    silent = {node.name: said for node, said in zip(nodes, answers, strict=True) if isinstance(said, str)}
    return seen, silent


async def _ask_one(node: NodeConfig) -> tuple[ModelSeen, ...] | str:
    key = node.api_key.reveal() if node.api_key else None
    try:
        kind: Kind = "ollama" if node.kind is NodeKind.OLLAMA else "openai"
        return await list_models(kind, node.url or "", key, timeout_s=node.timeouts.connect_s or _ASK_S)
    except FairleadError as error:
        return str(error)
