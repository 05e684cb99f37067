"""What operators see of trouble: how each node fares, and what happened lately."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from fairlead.domain.health import HealthReport, SystemHealth
from fairlead.errors import BadRequestError
from fairlead.gateway.http import Request, Responder
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.telemetry.event_log import MOST_LISTED, EventLog, Wanted
from fairlead.telemetry.event_words import KINDS

JSON = b"content-type: application/json\r\n"
_PARAMETERS = ("after", "limit", "node", "kind")


class HealthPages:
    """Answers `/admin/events` and `/admin/health`."""

    def __init__(self, events: EventLog, orchestrator: ModelOrchestrator) -> None:
        self._events = events
        self._orchestrator = orchestrator

    def routes(self) -> dict[tuple[str, str], Callable[[Request, Responder], None]]:
        """Return the paths that are answered here, for admins."""
        return {("GET", "/admin/events"): self._list_events, ("GET", "/admin/health"): self._tell_health}

    def _list_events(self, request: Request, responder: Responder) -> None:
        wanted = read_wanted(request.query)
        node = wanted.node
        if node is not None and node not in self._orchestrator.fleet.nodes and not self._events.knows(node):
            raise BadRequestError(f"there is no node {node[:80]!r}, and no event of one; GET /admin/nodes names them")
        _send(responder, self._events.read(wanted))

    def _tell_health(self, request: Request, responder: Responder) -> None:
        del request
        given_up = self._orchestrator.degrading.ladder.given_up
        _send(responder, {**system_told(self._orchestrator.system_health()), "given_up": given_up})


def read_wanted(query: str) -> Wanted:
    """Read `after=N&limit=M&node=NAME&kind=KIND`. Raises BadRequestError, saying what to change."""
    given: dict[str, str] = {}
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=2 * len(_PARAMETERS))
    except ValueError:
        raise BadRequestError(f"too many parameters; there are: {', '.join(_PARAMETERS)}") from None
    for name, value in fields:
        if name not in _PARAMETERS:
            raise BadRequestError(f"unknown parameter {name[:80]!r}; there are: {', '.join(_PARAMETERS)}")
        if name in given:
            raise BadRequestError(f"{name} is given twice", name)
        given[name] = value
    kind = given.get("kind")
    if kind is not None and kind not in KINDS:
        raise BadRequestError(f"unknown kind {kind[:80]!r}; there are: {', '.join(KINDS)}", "kind")
    after = _number(given, "after", 0, 2**53)
    limit = _number(given, "limit", 1, MOST_LISTED)
    return Wanted(after, 100 if limit is None else limit, given.get("node"), kind)


def _number(given: dict[str, str], name: str, least: int, most: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(most)) else -1
    if not least <= number <= most:
        raise BadRequestError(f"{name} must be a whole number from {least} to {most}, not {text[:80]!r}", name)
    return number


def system_told(health: SystemHealth) -> dict[str, Any]:
    """Put how the fleet fares into plain data; times are told as ages, shares are in [0, 1]."""
    return {
        "pressure": round(health.pressure, 4),
        "capacity_share": round(health.capacity_share, 4),
        "utilization": round(health.utilization, 4),
        "nodes": [
            {
                "name": name,
                **report_told(report),
                "outcomes": report.outcomes,
                "for_s": round(max(health.at_s - report.since_s, 0.0), 2),
            }
            for name, report in health.nodes.items()
        ],
    }


def report_told(report: HealthReport) -> dict[str, Any]:
    """Put how one node fares into plain data; None stands for what is not known."""
    return {
        "verdict": report.verdict.value,
        "why": report.why,
        "error_rate": None if report.error_rate is None else round(report.error_rate, 4),
        "excess_ms": None if report.excess_s is None else round(report.excess_s * 1000, 1),
        "reachable": report.is_reachable,
    }


def _send(responder: Responder, told: object) -> None:
    responder.send(200, JSON, msgspec.json.encode(told))
