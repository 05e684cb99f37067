"""What errors and headers of nodes mean to an exchange."""

from email.utils import parsedate_to_datetime
from math import isnan, nan

from fairlead.backends.contract import Headers
from fairlead.dialects import fault_of
from fairlead.dialects.contract import ErrorInfo
from fairlead.domain import Shortage
from fairlead.errors import Fault, NoCandidateError, OverloadedError, RoutingError
from fairlead.routing.filters import Reason
from fairlead.routing.requirements import Demand

MAX_RETRY_AFTER_S = 3600.0
SOON_S = 1.0
_DEMANDS = frozenset((*(one.value for one in Demand), Reason.TOO_LARGE.value))

_CODES = {
    "full": "fleet_full",
    "too_long": "wait_too_long",
    "deadline": "deadline_unmet",
    "shed": "load_shed",
    "limit": "rate_limit_exceeded",
}


def routing_error(error: RoutingError) -> ErrorInfo:
    """Turn the router's own refusal into what the caller reads."""
    if isinstance(error, NoCandidateError):
        if error.reasons and error.reasons.keys() <= _DEMANDS:  # no waiting helps: the request itself must change
            return ErrorInfo(400, str(error), "invalid_request_error", "requirements_not_met")
        return ErrorInfo(503, str(error), "overloaded_error", "no_candidate")
    if isinstance(error, OverloadedError):
        if error.retry_after_s is None:  # no waiting helps
            return ErrorInfo(400, str(error), "invalid_request_error", error.reason)
        return ErrorInfo(429, str(error), "rate_limit_error", _CODES.get(error.reason, error.reason))
    return ErrorInfo(404, str(error), "invalid_request_error", "model_not_found", "model")


def beyond_limit(shortage: Shortage) -> OverloadedError:
    """Return the refusal of a task that passes a limit of its key."""
    may = f"this key may use {shortage.capacity:.0f} {shortage.resource.replace('_', ' ')}"
    if shortage.is_hopeless:
        message = f"{may}, and this request alone may take {shortage.needed:.0f}"
        return OverloadedError(f"{message}: ask for less", "beyond_limit", None)
    wait_s = shortage.wait_s or 1.0
    return OverloadedError(f"{may}, and has used them; try again in {wait_s:.0f} s", "limit", wait_s)


def fault_in_stream(info: ErrorInfo) -> Fault:
    """Whose fault an error inside a stream is; one that names no status is the node's."""
    return fault_of(info.status, info) if info.status >= 400 else Fault.UNAVAILABLE


def read_retry_after(headers: Headers, now_s: float) -> float | None:
    """Read Retry-After, in seconds from now (`now_s`, Unix time); what is neither a number nor a date means "soon"."""
    value = next((value for name, value in headers if name == b"retry-after"), None)
    if value is None:
        return None
    try:
        asked_s = float(value)
    except ValueError:
        asked_s = _seconds_until(value.decode("latin-1"), now_s)
    return SOON_S if isnan(asked_s) else min(max(asked_s, 0.0), MAX_RETRY_AFTER_S)


def _seconds_until(date: str, now_s: float) -> float:
    """Return how far a date of HTTP is away; NaN for what is none."""
    try:
        return parsedate_to_datetime(date).timestamp() - now_s
    except (ValueError, OverflowError):
        return nan
