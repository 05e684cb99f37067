"""One table: each kind of event, how grave it is, and what a person reads of it, in logs, pages and terminals."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from fairlead.domain.health import Remedy, Verdict
from fairlead.engine import events as e
from fairlead.health import Circuit
from fairlead.health.ladder import NOTHING

_LETTERS = 300
"""Of a text that came from elsewhere, at most."""
_ENDED = frozenset(remedy.value for remedy in (Remedy.NONE, Remedy.RETRY, Remedy.WAIT, Remedy.REFUSE))
"""Remedies for one task; the others concern a node, or all."""


class Severity(StrEnum):
    """How grave an event is."""

    GOOD = "good"
    """Something is well again."""
    INFO = "info"
    WARNING = "warning"
    """Something is wrong, and dealt with."""
    BAD = "bad"
    """Somebody noticed, or a node is lost."""


class Words(NamedTuple):
    """What there is to say of one type of event."""

    kind: str
    say: Callable[[Any], str]
    weigh: Callable[[Any], Severity]
    is_frequent: Callable[[Any], bool]
    """Whether it is about a single task or model, so that there may be thousands a minute."""


def kept_text(size_bytes: float) -> str:
    """Write a size of text: 900 bytes, 2.1 KB."""
    return f"{size_bytes:.0f} bytes" if size_bytes < 1000 else f"{size_bytes / 1000:.1f} KB"


def _always(severity: Severity) -> Callable[[Any], Severity]:
    return lambda _: severity


def _yes(_: Any) -> bool:
    return True


def _no(_: Any) -> bool:
    return False


def _because(why: str) -> str:
    return f" ({why[:_LETTERS]})" if why else ""


def _circuit(event: e.CircuitChanged) -> Severity:
    if event.after == Circuit.OPEN.value:
        return Severity.BAD
    return Severity.GOOD if event.after == Circuit.CLOSED.value else Severity.INFO


_VERDICTS = {
    Verdict.HEALTHY.value: Severity.GOOD,
    Verdict.DEGRADED.value: Severity.WARNING,
    Verdict.EJECTED.value: Severity.BAD,
    Verdict.DOWN.value: Severity.BAD,
}


def _health(event: e.HealthChanged) -> Severity:
    return _VERDICTS.get(event.after, Severity.INFO)


def _blocked(event: e.PairBlocked) -> str:
    return f"node {event.node} refuses model {event.model} ({event.fault}): not asked for it for a while"


def _cooling(event: e.NodeCooling) -> str:
    return f"node {event.node} asks to be left alone for {max(event.until_s - event.at_s, 0.0):.1f} s"


def _expired(event: e.LeasesExpired) -> str:
    leases = "1 lease" if event.count == 1 else f"{event.count} leases"
    return f"node {event.node}: {leases} taken back, the owners had vanished"


def _fleet(event: e.FleetChanged) -> str:
    return f"node {event.node} {'serves' if event.joined else 'no longer serves'} model {event.model}"


def _failed_over(event: e.FailedOver) -> str:
    return f"task {event.task}: node {event.node} failed it ({event.fault}), sent to {event.to_node}"


_RESCUES = {
    "continued": "{to} continued it",
    "spliced": "{to} generated it again, joined where the text agrees",
    "restarted": "{to} began it anew",
}


def _rescued(event: e.Rescued) -> str:
    done = _RESCUES.get(event.how, "{to} finished it").format(to=event.to_node)
    return f"task {event.task}: answer broke on {event.node} after {kept_text(event.kept_bytes)}, {done}"


def _rescue_failed(event: e.RescueFailed) -> str:
    return f"task {event.task}: answer broke on {event.node} and nobody could finish it{_because(event.why)}"


def _hedged(event: e.Hedged) -> str:
    return f"task {event.task}: node {event.node} silent for {event.after_s:.2f} s, asked {event.to_node} too"


def _draining(event: e.NodeDraining) -> str:
    return f"node {event.node} " + ("drains: no further tasks" if event.is_draining else "takes tasks again")


def _degradation(event: e.DegradationChanged) -> str:
    return f"given up under pressure: {event.before} -> {event.after}{_because(event.why)}"


def _degraded(event: e.DegradationChanged) -> Severity:
    return Severity.GOOD if event.after == NOTHING else Severity.WARNING


def _recovered(event: e.Recovered) -> str:
    return f"recovery: {event.remedy.replace('_', ' ')} {event.subject}{_because(event.why)}"


def _remedied(event: e.Recovered) -> Severity:
    if event.remedy == Remedy.REFUSE.value:
        return Severity.BAD
    return Severity.GOOD if event.remedy == Remedy.RESTORE.value else Severity.INFO


def _is_of_one_task(event: e.Recovered) -> bool:
    return event.remedy in _ENDED


def _config(event: e.ConfigChanged) -> str:
    if event.refused:
        return f"configuration refused, the last good one stays: {event.refused[:_LETTERS]}"
    return f"configuration read again: {'; '.join(event.changes)[:_LETTERS] or 'nothing changed'}"


def _configured(event: e.ConfigChanged) -> Severity:
    return Severity.WARNING if event.refused else Severity.INFO


_INFO, _WARNING, _BAD = _always(Severity.INFO), _always(Severity.WARNING), _always(Severity.BAD)

WORDS: dict[type[e.Event], Words] = {
    e.CircuitChanged: Words(
        "circuit_changed", lambda one: f"node {one.node}: circuit {one.before} -> {one.after} ({one.cause})",
        _circuit, _no,
    ),
    e.HealthChanged: Words(
        "health_changed", lambda one: f"node {one.node}: {one.before} -> {one.after}{_because(one.why)}", _health, _no
    ),
    e.NodeDraining: Words("node_draining", _draining, _INFO, _no),
    e.DegradationChanged: Words("degradation_changed", _degradation, _degraded, _no),
    e.Recovered: Words("recovered", _recovered, _remedied, _is_of_one_task),
    e.ConfigChanged: Words("config_changed", _config, _configured, _no),
    e.StrategyChanged: Words(
        "strategy_changed", lambda one: f"strategy: {one.before} -> {one.after}", _INFO, _no
    ),
    e.LoadStageChanged: Words(
        "load_stage_changed", lambda one: f"arrivals: {one.before} -> {one.after}{_because(one.why)}", _INFO, _no
    ),
    e.PairBlocked: Words("pair_blocked", _blocked, _WARNING, _no),
    e.LeasesExpired: Words("leases_expired", _expired, _WARNING, _no),
    e.FleetChanged: Words("fleet_changed", _fleet, _INFO, _yes),
    e.NodeCooling: Words("node_cooling", _cooling, _INFO, _yes),
    e.FailedOver: Words("failed_over", _failed_over, _WARNING, _yes),
    e.Rescued: Words("rescued", _rescued, _WARNING, _yes),
    e.RescueFailed: Words("rescue_failed", _rescue_failed, _BAD, _yes),
    e.Hedged: Words("hedged", _hedged, _INFO, _yes),
}  # fmt: skip
"""A further type of event needs one line here; one without is counted nowhere and shown to nobody."""

KINDS = tuple(words.kind for words in WORDS.values())
