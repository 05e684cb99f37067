"""The caller's side of an exchange, whatever door it came through."""

from typing import TYPE_CHECKING, Protocol

from fairlead.dialects.contract import ErrorInfo

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange


class Reply(Protocol):
    """The caller's side of an exchange."""

    def whole(self, exchange: "Exchange", body: bytes) -> None:
        """Send a complete answer."""
        ...

    def begin(self, exchange: "Exchange", first: bytes) -> None:
        """Send the head of a streamed answer together with its first piece."""
        ...

    def write(self, data: bytes) -> None:
        """Send a further piece at once."""
        ...

    def end(self) -> None:
        """End a streamed answer well."""
        ...

    def break_off(self) -> None:
        """End a streamed answer that broke, so that nobody can take it for complete."""
        ...

    def refuse(self, exchange: "Exchange", error: ErrorInfo, retry_after_s: float | None) -> None:
        """Send an error instead of an answer."""
        ...
