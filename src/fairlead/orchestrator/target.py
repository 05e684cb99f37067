"""How a node is reached, and how long a call may take."""

import msgspec

from fairlead.backends.contract import Backend


class CallTimeouts(msgspec.Struct, frozen=True):
    """Limits of one call, in seconds."""

    connect_s: float = 2.0
    first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 600.0


class Target(msgspec.Struct):
    """How a node is reached."""

    backend: Backend
    own_names: dict[str, str] = {}
    """What the node itself calls a model, where that differs."""
    first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 600.0
