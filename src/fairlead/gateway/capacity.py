"""What operators see of capacity: nodes with what they have and hold, who waits, and every lease."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from statistics import fmean, pstdev

import msgspec

from fairlead.actuators import Autoscaler
from fairlead.allocation import Account, Lease
from fairlead.domain import Task
from fairlead.engine.decision import leased
from fairlead.engine.node_state import NodeState
from fairlead.gateway.health_pages import report_told
from fairlead.gateway.http import Request, Responder
from fairlead.load.prefix import Holder
from fairlead.load.prefix_affinity import Hits
from fairlead.orchestrator.orchestrator import ModelOrchestrator

JSON = b"content-type: application/json\r\n"
HISTORY_SHOWN = 20
MOST_LEASES = 1000
"""Leases listed at once; the rest is counted."""


class CapacityPages:
    """Answers `/admin/nodes`, `/admin/queue` and `/admin/leases`."""

    def __init__(self, orchestrator: ModelOrchestrator) -> None:
        self._orchestrator = orchestrator
        self.scaler: Autoscaler | None = None
        """What starts and stops nodes, where anything does."""
        self.actuator = ""
        """Of which kind it is."""

    def routes(self) -> dict[tuple[str, str], Callable[[Request, Responder], None]]:
        """Return the paths that are answered here, for admins."""
        return {
            ("GET", "/admin/nodes"): self._nodes,
            ("GET", "/admin/queue"): self._queue,
            ("GET", "/admin/leases"): self._leases,
        }

    def _nodes(self, request: Request, responder: Responder) -> None:
        del request
        orchestrator = self._orchestrator
        now_s = orchestrator.clock()
        states = orchestrator.fleet.nodes
        nodes = [_node(name, state, now_s) for name, state in states.items()]
        if orchestrator.prefixes is not None:
            hits = orchestrator.prefixes.stats()
            for told_of in nodes:
                told_of["prefix"] = _prefix(hits, str(told_of["name"]))
        reports = orchestrator.system_health().nodes
        for told_of in nodes:
            report = reports.get(str(told_of["name"]))
            told_of["health"] = None if report is None else report_told(report)
        told: dict[str, object] = {"nodes": nodes, "deviation": round(_deviation(states.values()), 4)}
        if self.scaler is not None:
            last = self.scaler.last
            told["scaling"] = {
                "actuator": self.actuator,
                "target": None if last is None else last.target,
                "why": "" if last is None else last.why,
                "history": [
                    {"age_s": round(now_s - one.at_s, 1), "what": one.what, "node": one.node, "said": one.said}
                    for one in self.scaler.history[-HISTORY_SHOWN:]
                ],
            }
        _send(responder, told)

    def _queue(self, request: Request, responder: Responder) -> None:
        del request
        orchestrator = self._orchestrator
        queue = orchestrator.lobby.queue
        told = msgspec.to_builtins(queue.state(orchestrator.clock()))
        told["arrivals"] = msgspec.to_builtins(orchestrator.strategy_of_load)
        told["max_wait_s"] = msgspec.to_builtins(queue.config.max_wait_s)
        _send(responder, told)

    def _leases(self, request: Request, responder: Responder) -> None:
        del request
        orchestrator = self._orchestrator
        now_s = orchestrator.clock()
        ledger = orchestrator.fleet.ledger
        told = [_lease(lease, now_s) for lease in islice(ledger, MOST_LEASES)]
        _send(responder, {"leases": told, "total": len(ledger), "expired_total": ledger.expired_total})


def _send(responder: Responder, told: object) -> None:
    responder.send(200, JSON, msgspec.json.encode(told))


def _node(name: str, state: NodeState, now_s: float) -> dict[str, object]:
    account, report = state.account, state.report
    told: dict[str, object] = {
        "name": name,
        "circuit": state.breaker.state.value,
        "draining": state.is_draining,
        "models": sorted(state.candidates),
        "capacity": _known(account),
        "leased": _leased(account),
        "utilization": round(account.utilization, 4),
        "warmth": round(account.warmth, 4),
        "used_last_minute": {
            rate.name.removesuffix("_per_minute"): rate.used(now_s) for rate in account.rates if rate is not None
        },
    }
    if report is not None:
        told["reported"] = {
            "age_s": round(now_s - report.sampled_at_s, 2),
            "running": report.running,
            "waiting": report.waiting,
            "utilization": report.utilization,
            "loaded": sorted(report.loaded or ()),
        }
    if state.residency is not None:
        costs = {model: state.residency.load_cost_s(model) for model in sorted(state.candidates)}
        told["loading_s"] = {model: round(cost_s, 2) for model, cost_s in costs.items() if cost_s}
    return told


def _deviation(states: Iterable[NodeState]) -> float:
    """Return the coefficient of variation of the loads of the nodes whose capacity is known."""
    loads = [state.account.utilization for state in states if not state.account.is_roomy]
    mean = fmean(loads) if loads else 0.0
    return pstdev(loads) / mean if mean else 0.0


def _prefix(hits: Mapping[Holder, Hits], name: str) -> dict[str, object]:
    """Tell what prompts' beginnings a node is believed to hold, and how much of what was promised it had cached."""
    own = [one for (_, node), one in hits.items() if node == name]
    promised, found = sum(one.promised_tokens for one in own), sum(one.found_tokens for one in own)
    return {
        "blocks": sum(one.blocks for one in own),
        "promised_tokens": promised,
        "found_tokens": found,
        "trust": round(min((one.trust for one in own), default=1.0), 4),
    }


def _known(account: Account) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(account.capacity).items() if value is not None}


def _leased(account: Account) -> dict[str, int]:
    amounts = {
        "slots": account.in_flight,
        "tokens": account.tokens,
        "memory_bytes": account.memory_bytes,
        "gpu_memory_bytes": account.gpu_memory_bytes,
    }
    return {name: amount for name, amount in amounts.items() if amount or name == "slots"}


def _lease(lease: Lease, now_s: float) -> dict[str, object]:
    holder = lease.holder
    task = holder if isinstance(holder, Task) else None
    return {
        "id": lease.id,
        "node": lease.account.name,
        "task": None if task is None else task.id,
        "model": None if task is None else task.model,
        "tenant": None if task is None else task.tenant,
        "priority": None if task is None else task.priority,
        "holds": leased(lease.needs),
        "written_tokens": lease.output_tokens,
        "age_s": round(now_s - lease.taken_s, 2),
        "expires_in_s": round(lease.expires_s - now_s, 2),
        "probe": lease.is_probe,
    }
