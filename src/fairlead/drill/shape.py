"""The shape of a fleet without the fleet: a configuration whose nodes, keys and state cannot be reached any more."""

from typing import TypeVar

import msgspec

from fairlead.config import Config, NodeConfig, NodeKind, NodeTimeouts, ServedModel, StateConfig, Timeouts
from fairlead.config.schema import ModelTimeouts
from fairlead.domain.rescue import Continuation
from fairlead.errors import ConfigError
from fairlead.scaling.config import ScalingConfig

FIRST_TOKEN_S = 0.4
"""What the limit on first tokens becomes; the other limits keep their proportion to it, within bounds."""
CONNECT_S = 0.4
_LEAST_S = 0.25
_MOST_S = 3.0
_NOWHERE = "http://127.0.0.1:1"
"""Stands until the address of a stand-in is known."""
_UNKNOWN_MODEL = "model"
_Limits = TypeVar("_Limits", Timeouts, NodeTimeouts, ModelTimeouts)
BUILT_IN = Config(
    nodes=tuple(
        NodeConfig(name=name, url=_NOWHERE, kind=NodeKind.OPENAI, models=(ServedModel(name="m"),))
        for name in ("one", "two", "three")
    )
)
"""Three nodes with one model, for want of a configuration."""


class Shape(msgspec.Struct, frozen=True):
    """What is drilled."""

    config: Config
    """Without addresses, keys, state or anything else that leads elsewhere; limits scaled down."""
    model: str
    """The name that is asked for: the one with the most nodes behind it."""
    nodes: tuple[str, ...]
    """Who serves it."""


def shape_of(config: Config) -> Shape:
    """Return what of a configuration can be drilled. Raises ConfigError where it has no node."""
    if not config.nodes:
        raise ConfigError("a drill needs a node: put one under `nodes`")
    known = tuple(ServedModel(name=model.name) for model in config.models) or (ServedModel(name=_UNKNOWN_MODEL),)
    factor = FIRST_TOKEN_S / config.timeouts.first_token_s
    nodes = tuple(_harmless(node, known, factor) for node in config.nodes)
    models = tuple(msgspec.structs.replace(model, timeouts=_scaled(model.timeouts, factor)) for model in config.models)
    shape = msgspec.structs.replace(
        config,
        listen="127.0.0.1:0",
        unix_socket=None,
        detector="rules",
        nodes=nodes,
        models=models,
        cascades=(),
        state=StateConfig(enabled=False),
        scaling=ScalingConfig(),
        timeouts=_scaled(config.timeouts, factor),
        keys=(),
        allow_hosts=(),
        drain_s=0.0,
        reload=False,
    )
    model, served_by = _widest(shape)
    return Shape(shape, model, served_by)


def _harmless(node: NodeConfig, known: tuple[ServedModel, ...], factor: float) -> NodeConfig:
    """Return a node that leads nowhere, yet counts for as much."""
    asks = node.continuation is Continuation.PROBE
    return msgspec.structs.replace(
        node,
        url=_NOWHERE,
        kind=NodeKind.OLLAMA if node.kind is NodeKind.OLLAMA else NodeKind.OPENAI,
        models=node.models or known,
        api_key=None,
        headers={},
        command=None,
        timeouts=_scaled(node.timeouts, factor),
        poll=False,
        continuation=Continuation.TRAILING if asks else node.continuation,
    )


def _scaled(limits: _Limits, factor: float) -> _Limits:
    """Return the same limits in less time."""
    said = {name: value for name, value in msgspec.structs.asdict(limits).items() if value is not None}
    short = {name: min(max(value * factor, _LEAST_S), _MOST_S) for name, value in said.items()}
    if "connect_s" in short:
        short["connect_s"] = CONNECT_S
    return msgspec.structs.replace(limits, **short)


def _widest(config: Config) -> tuple[str, tuple[str, ...]]:
    """Return the name with the most nodes behind it; of several the first that the file names."""
    behind: dict[str, list[str]] = {}
    for node in config.nodes:
        for model in node.models or ():
            behind.setdefault(model.public, []).append(node.name)
    for group, members in config.groups.items():
        nodes = [node for member in members for node in behind.get(member, ())]
        behind.setdefault(group, list(dict.fromkeys(nodes)))
    name = max(behind, key=lambda one: len(behind[one]))
    return name, tuple(behind[name])
