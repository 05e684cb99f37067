"""What the orchestrator asks of a backend: send a request, get the answer as callbacks.

Callbacks instead of a coroutine per request: on the relay's hot path a task switch costs more than the relay.
"""

from typing import Protocol

from fairlead.dialects.contract import Dialect, NodeRequest
from fairlead.errors import Fault

Headers = list[tuple[bytes, bytes]]
"""Names in lower case."""


class Sink(Protocol):
    """Takes a node's answer as it arrives. After `on_end` or `on_error` nothing follows."""

    def on_head(self, status: int, headers: Headers) -> None:
        """Take the status and headers."""
        ...

    def on_data(self, data: bytes) -> None:
        """Take a piece of the body, decoded from its transfer coding."""
        ...

    def on_end(self) -> None:
        """The answer is whole."""
        ...

    def on_error(self, fault: Fault, message: str) -> None:
        """The attempt broke; the message says how, for people."""
        ...


class Sending(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Stop the work at the node now; the sink hears nothing more."""
        ...

    def pause(self) -> None:
        """Take no more from the node for now: the caller reads too slowly."""
        ...

    def resume(self) -> None:
        """Go on taking."""
        ...


class Backend(Protocol):
    """One node, as something that can be sent to."""

    dialect: Dialect
    """What the node speaks."""

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> Sending:
        """Begin a request; `extra_head` is a block of header lines to add where the node speaks HTTP."""
        ...

    async def close(self) -> None:
        """Give up all connections and processes."""
        ...
