"""The models of a fleet: what the file says, what nodes tell, what the table fills in, and what stays unknown."""

import asyncio
from typing import Any

import msgspec

from fairlead.cli.deciding import ask_nodes
from fairlead.config import Config, NodeConfig, NodeKind
from fairlead.config.known_models import KnownModel, meant_by
from fairlead.discovery import ModelSeen
from fairlead.domain import Model

_FIELDS = ("context_tokens", "capabilities", "price")


class FleetModel(msgspec.Struct, frozen=True):
    """A model under the name that callers use, and where each part of the knowledge comes from."""

    model: Model
    nodes: tuple[str, ...]
    source: dict[str, str]
    """Field -> `file`, `node`, `table` or `unknown`."""
    note: str = ""
    """Why the table says nothing, where it could be thought to."""
    is_open: bool = False
    """Whether the table knows it as open weights."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        model = self.model
        price = None if model.price is None else msgspec.to_builtins(model.price)
        values = (model.context_tokens, None if model.capabilities is None else sorted(model.capabilities), price)
        return {
            "name": model.name,
            "nodes": self.nodes,
            **{field: {"value": v, "source": self.source[field]} for field, v in zip(_FIELDS, values, strict=True)},
            "skill": model.skill,
            "note": self.note,
        }


class _Served(msgspec.Struct):
    nodes: list[str] = []
    seen: list[ModelSeen] = []
    rows: list[tuple[KnownModel, ...]] = []
    """For each node, what its own name for the model means."""


def of_fleet(config: Config) -> tuple[list[FleetModel], dict[str, str]]:
    """Return every model that the file declares or a node serves, and the nodes that told none, with the reason.

    Nodes whose models the file does not list are asked.
    """
    seen, silent = asyncio.run(ask_nodes([node for node in config.nodes if node.models is None]))
    served: dict[str, _Served] = {one.name: _Served() for one in config.models}
    for node in config.nodes:
        for public, own_name, told in _models_of(node, seen):
            one = served.setdefault(public, _Served())
            one.nodes.append(node.name)
            one.rows.append(meant_by(own_name, open_only=node.kind is not NodeKind.OPENAI))
            if told is not None:
                one.seen.append(told)
    declared = {one.name: one.to_model() for one in config.models}
    return [_filled(declared.get(name) or Model(name), one) for name, one in served.items()], silent


def _models_of(node: NodeConfig, seen: dict[str, tuple[ModelSeen, ...]]) -> list[tuple[str, str, ModelSeen | None]]:
    if node.models is not None:
        return [(one.public, one.name, None) for one in node.models]
    return [(one.name, one.name, one) for one in seen.get(node.name, ())]


def _filled(model: Model, served: _Served) -> FleetModel:
    readings = served.rows or [meant_by(model.name)]
    row = readings[0][0] if all(one == readings[0] and len(one) == 1 for one in readings) else None
    told = served.seen[0] if served.seen else ModelSeen(model.name)
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    for field in _FIELDS:
        for origin, holder in (("file", model), ("node", told), ("table", row)):
            value = getattr(holder, field, None)
            if value is not None:
                values[field], source[field] = value, origin
                break
        else:
            source[field] = "unknown"
    filled = msgspec.structs.replace(model, **values)
    is_open = row is not None and row.is_open
    return FleetModel(filled, tuple(served.nodes), source, _note(readings, source), is_open)


def _note(readings: list[tuple[KnownModel, ...]], source: dict[str, str]) -> str:
    """Say why the table was of no use, where something is missing."""
    if "unknown" not in source.values():
        return ""
    names = list(dict.fromkeys(row.name for rows in readings for row in rows))
    if len(names) == 1 and all(readings):
        return ""  # an open model: only its price is missing
    return "could be " + " or ".join(names) if len(names) > 1 else "not in the table"
