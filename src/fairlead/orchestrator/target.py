"""How a node is reached, and how long a call may take."""

import msgspec

from fairlead.backends.contract import Backend
from fairlead.backends.http_backend import HttpBackend
from fairlead.dialects.contract import Dialect
from fairlead.domain.rescue import Continuation


class CallLimits(msgspec.Struct, frozen=True):
    """What a caller, or the configuration of a model, says of the limits of a call, in seconds; None: nothing."""

    headers_s: float | None = None
    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None


class CallTimeouts(msgspec.Struct, frozen=True):
    """Limits of one call, in seconds. A connection belongs to a node, so its own limit is the backend's."""

    headers_s: float | None = None
    """Until the status line of a stream; None: as long as the first token may take."""
    first_token_s: float = 30.0
    """Until the first piece of a stream."""
    load_s: float = 120.0
    """Added to both where the node has to load the model first."""
    idle_s: float = 20.0
    """Between two pieces."""
    total_s: float = 600.0
    """Of one attempt, and, of the common ones, of the whole task."""

    def but(self, limits: CallLimits) -> "CallTimeouts":
        """Return these with what is said otherwise in its place."""
        own = {name: value for name, value in msgspec.structs.asdict(limits).items() if value is not None}
        return msgspec.structs.replace(self, **own) if own else self


class Target(msgspec.Struct):
    """How a node is reached."""

    backend: Backend
    own_names: dict[str, str] = {}
    """What the node itself calls a model, where that differs."""
    timeouts: CallTimeouts = CallTimeouts()
    by_model: dict[str, CallTimeouts] = {}
    """Of the models that have limits of their own here."""
    continuation: Continuation | None = None
    """How the node goes on from the beginning of an answer; None: not known."""


def http_target(
    url: str,
    *,
    dialect: Dialect = Dialect.OPENAI,
    api_key: str | None = None,
    timeouts: CallTimeouts | None = None,
    continuation: Continuation | None = None,
) -> Target:
    """Return how a server is reached over HTTP: below `url`, which ends in `/v1` for OpenAI's dialect.

    Raises ConfigError for what is no address.
    """
    backend = HttpBackend(url, dialect, api_key=api_key)
    return Target(backend, timeouts=timeouts or CallTimeouts(), continuation=continuation)
