"""Everything fairlead raises on purpose: a closed list, each saying what happened and what to change."""

from enum import StrEnum


class FairleadError(Exception):
    """Base of all errors that fairlead raises on purpose."""


class ConfigError(FairleadError):
    """The configuration cannot be used; the message names the place and what would mend it."""


class DuplicateModelError(FairleadError, ValueError):
    """A model id, node or (model, node) pair is registered already."""


class UnknownModelError(FairleadError, KeyError):
    """No such model is registered."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class UnknownTaskError(FairleadError, KeyError):
    """No such task is remembered."""

    __str__ = UnknownModelError.__str__


class UnknownStrategyError(FairleadError, ValueError):
    """No routing strategy has this name."""


class RoutingError(FairleadError):
    """No candidate can take the task now."""


class NoModelError(RoutingError):
    """Nothing is registered that could serve the task."""


class NoCandidateError(RoutingError):
    """Models are registered, but each is ruled out: `reasons` counts why."""

    def __init__(self, message: str, reasons: dict[str, int] | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or {}
        self.retry_after_s = retry_after_s


class OverloadedError(RoutingError):
    """There is no room for the task, and it cannot wait for some: `retry_after_s` says when it would be admitted.

    None where it never would.
    """

    def __init__(self, message: str, reason: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.reason = reason
        """`full`, `too_long`, `deadline`, `shed`, `limit` or `beyond_limit`."""
        self.retry_after_s = retry_after_s


class TaskFailedError(FairleadError):
    """A task came to nothing: `status` and `code` say it as a gateway would, `retry_after_s` when to come again."""

    def __init__(
        self,
        message: str,
        status: int,
        code: str | None = None,
        retry_after_s: float | None = None,
        task_id: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.task_id = task_id


class LeaseError(FairleadError):
    """A lease is over, so nothing can be done with it."""


class BadRequestError(FairleadError, ValueError):
    """The caller's request cannot be understood; `param` names the field where there is one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class MalformedAnswerError(FairleadError):
    """A node's answer breaks its own protocol: rubbish, or an end before the end."""


class Fault(StrEnum):
    """What went wrong with one attempt, in the words of the whose-fault-is-it table."""

    CALLER = "caller"  # 400, 413, 422: goes back
    CONTENT_FILTER = "content_filter"  # goes back
    CONTEXT = "context_too_long"  # another model with a larger context may do it
    DENIED = "denied"  # 401, 403: this node's key is wrong
    NOT_FOUND = "not_found"  # 404 for a listed model
    UNSUPPORTED = "unsupported"  # the node does not offer this operation
    RATE_LIMITED = "rate_limited"  # 429
    UNAVAILABLE = "unavailable"  # 408, 425, 5xx
    CONNECT = "connect"  # the request never reached the node
    TRANSPORT = "transport"  # the connection broke after the request was sent
    TIMEOUT = "timeout"  # first token, idle or total limit
    LATE = "late"  # it took longer than this caller waits, though perhaps no longer than it may
    MALFORMED = "malformed"  # an answer that breaks its protocol
    DIVERGED = "diverged"  # a good answer, but not the one whose beginning the caller has already
    CANCELLED = "cancelled"  # the caller went away: nobody's fault

    __hash__ = str.__hash__  # Enum's own is written in Python, and every failure is looked up in a table
