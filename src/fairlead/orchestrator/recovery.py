"""Recovery: what is done about trouble, carried out and told.

Once a second, after the nodes have been judged:

a node is down, ejected or drained     its tasks are let finish, or sent elsewhere (`failing_over`)
nobody is left for a model             nodes that are only held to be unwell are asked all the same
the pressure has changed               one more thing is given up, or taken back (`degrading`)
all is leased, and somebody waits      dead leases are taken back, batch work is refused, more nodes are wished for
a node is back                         it gets its share back, and who waits for room is let in

The last but the ladder are done between two looks as well, when a circuit opens, say.
"""

from typing import TYPE_CHECKING

from fairlead.dialects.contract import ErrorInfo
from fairlead.domain import Needs, NodeLoad, PriorityClass, Task
from fairlead.domain.health import (
    FailoverPlan,
    HealthReport,
    Incident,
    RecoveryAction,
    Remedy,
    SystemHealth,
    Verdict,
)
from fairlead.domain.load import FleetLoad, LoadAdjustment
from fairlead.engine.decision import Decision
from fairlead.engine.events import (
    CircuitChanged,
    Event,
    FleetChanged,
    NodeCooling,
    NodeDraining,
    PairBlocked,
    Recovered,
)
from fairlead.errors import Fault, NoCandidateError, OverloadedError, RoutingError
from fairlead.health.failover import detect_failover_need
from fairlead.health.monitor import OUT
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.failing_over import (
    Outage,
    Work,
    is_back,
    is_out,
    is_stuck,
    may_move,
    plan_of,
    silence_of,
    work_on,
)
from fairlead.orchestrator.protocols import ErrorRecovery, HealthAwareRouting
from fairlead.routing.filters import WAITING_HELPS, Reason

if TYPE_CHECKING:
    from fairlead.orchestrator.orchestrator import ModelOrchestrator

FLEET = "the fleet"
"""What an action concerns that is about all nodes."""
PATIENCE = 0.5
"""Share of its class's longest wait from which on somebody who waits for room is helped."""
_BATCH = frozenset((PriorityClass.BATCH,))
_URGENT = (PriorityClass.INTERACTIVE, PriorityClass.NORMAL)
_HELD_UNWELL = (Reason.EJECTED, Reason.DOWN)
_MAY_STRAND = (CircuitChanged, NodeDraining, FleetChanged, NodeCooling, PairBlocked)
_WAITING_HELPS = frozenset(reason.value for reason in WAITING_HELPS)


class Recovery:
    """Does what can be done about trouble in an orchestrator's fleet. Single-owner, like that."""

    def __init__(self, orchestrator: "ModelOrchestrator") -> None:
        self._orchestrator = orchestrator
        self._verdicts: dict[str, Verdict] = {}
        """As of the last look."""
        self._outages: dict[str, Outage] = {}
        self._silent_since_s: dict[str, float] = {}
        """Of nodes whose last failure was a first token that never came, when that task was sent."""
        self.shed: frozenset[PriorityClass] = frozenset()
        """Classes that are refused because all is leased."""
        for kind in _MAY_STRAND:
            orchestrator.bus.subscribe(kind, self._on_change)

    @property
    def wants_more_nodes(self) -> bool:
        """Whether all is leased and somebody has waited long."""
        return bool(self.shed)

    def look(self, now_s: float) -> None:
        """Have the nodes judged once a second, and do what follows."""
        fleet = self._orchestrator.fleet
        if not fleet.review_health(now_s):
            return
        spared = self._let_back_all()
        health = self.check_system_health()
        for name, report in health.nodes.items():
            if name not in spared:
                self._meet(report)
        self._verdicts = {name: report.verdict for name, report in health.nodes.items()}
        self._outages = {name: one for name, one in self._outages.items() if name in fleet.nodes}
        self._silent_since_s = {name: at_s for name, at_s in self._silent_since_s.items() if name in fleet.nodes}
        self.adjust_for_degradation(health)
        if self._is_exhausted(health, now_s):
            self.mitigate_resource_exhaustion()
        if self._returned() or (self.shed and not self._is_full(health)):
            self.restore_balance()

    def note_failure(self, exchange: Exchange, decision: Decision, fault: Fault) -> None:
        """Note how an attempt failed, so that a node that is silent is told from one that refuses."""
        node = decision.candidate.node.name
        if fault is not Fault.TIMEOUT:
            self._silent_since_s.pop(node, None)
        elif exchange.call.stream and not exchange.has_begun and exchange.wishes.limits_of_call is None:
            self._silent_since_s[node] = decision.lease.taken_s

    # -- routing that minds health

    def check_system_health(self) -> SystemHealth:
        """Return how the fleet fares: verdicts as of the last review, figures of now."""
        return self._orchestrator.system_health()

    def adjust_for_degradation(self, health: SystemHealth) -> RecoveryAction:
        """Go up or down the ladder as the pressure says."""
        degrading = self._orchestrator.degrading
        level = len(degrading.ladder.given_up)
        change = degrading.climb(health.pressure, health.at_s)
        if change is None:
            return self._nothing("the ladder", "the pressure calls for no other step")
        self._orchestrator.tell(change)
        is_up = len(degrading.ladder.given_up) > level
        step = change.after if is_up else change.before
        return self._record(Remedy.DEGRADE if is_up else Remedy.RESTORE, step, change.why)

    def trigger_failover(self, incident: Incident) -> FailoverPlan:
        """Leave a node: let finish what can, send elsewhere what cannot.

        An incident that is no worse than the one for which the node is being left already changes nothing, and its plan
        is returned. A node that nothing here holds anything against is drained, since somebody knows better: it is for
        that somebody to undrain it. Raises ValueError for a node that is not there, and for a verdict with which no
        node is left.
        """
        fleet, name = self._orchestrator.fleet, incident.node
        state = fleet.nodes.get(name)
        if state is None:
            raise ValueError(f"there is no node {name!r} to fail over from")
        if incident.verdict not in OUT:
            raise ValueError(f"a node that is {incident.verdict.value} is ranked lower, not left")
        outage = self._outages.get(name)
        if outage is not None and not _is_worse(incident, outage.incident.verdict):
            return outage.plan
        is_told = not is_out(state)
        if is_told:
            fleet.drain(name, True, self._now_s)
        new = Outage(incident, FailoverPlan(node=name, targets={}), is_told or (outage is not None and outage.is_told))
        finishing, moving = self._sort_out(new)
        new.plan = plan = plan_of(fleet, state, finishing, moving)
        self._outages[name] = new
        remedy = Remedy.EJECT if incident.verdict is Verdict.EJECTED else Remedy.FAIL_OVER
        self._record(remedy, name, _why_left(incident, plan), finishing=len(finishing), moving=len(moving))
        self._move(new, moving)
        return plan

    # -- recovery from errors

    def handle_routing_failure(self, task: Task, error: RoutingError) -> RecoveryAction:
        """Do what can be done for a task for which routing found nobody.

        Nodes that are only held to be unwell (ejected, or failing their checks) are asked all the same where nobody
        else is left: `retry`. Where others' work is in the way, the task has to `wait`, and dead leases are taken back
        at once. Else it is refused with the reason.
        """
        if isinstance(error, NoCandidateError):
            nodes = self._let_back(task.model)
            if nodes:
                return self._record(Remedy.RETRY, task.id, f"{', '.join(nodes)} may be asked after all")
            if not _WAITING_HELPS.isdisjoint(error.reasons):
                self._make_room()
                return self._record(Remedy.WAIT, task.id, "nobody has room for it now")
        return self._record(Remedy.REFUSE, task.id, _why_refused(error))

    def mitigate_resource_exhaustion(self, node: str | None = None) -> RecoveryAction:
        """Make room on a node, or in the fleet (None), when all of it is leased.

        Leases whose owners vanished are taken back, and who waits for room tries again. For the fleet, batch work is
        refused besides, and more nodes are wished for (`wants_more_nodes`), until `restore_balance` finds room: batch
        tasks that had not begun have given way already, when somebody more urgent came (`engine.lobby`). Raises
        ValueError for a node that is not there.
        """
        fleet = self._orchestrator.fleet
        state = fleet.nodes.get(node) if node is not None else None
        if node is not None and state is None:
            raise ValueError(f"there is no node {node!r}")
        before = len(fleet.ledger) if state is None else state.account.in_flight
        self._make_room()
        freed = before - (len(fleet.ledger) if state is None else state.account.in_flight)
        is_new = node is None and not self.shed
        if is_new:
            self.shed = _BATCH
            self._orchestrator.tighten()
        if not freed and not is_new:
            return self._nothing(node or FLEET, "there is nothing that could be taken back")
        done = [f"leases taken back: {freed}"] if freed else []
        done += ["batch work is refused", "more nodes are wished for"] if is_new else []
        return self._record(Remedy.DEGRADE if is_new else Remedy.RESTORE, node or FLEET, "; ".join(done), freed=freed)

    def restore_balance(self) -> RecoveryAction:
        """Take back into service what is well again, and say how even the loads are.

        A node that is back gets its share step by step (the fleet begins slowly with it), and who waits for room is
        let in. What was refused while all was leased is let in once there is room. Tasks at work are never moved to
        even out the loads: a node cannot hand over what it has begun, so the loads become even through what arrives.
        """
        back = self._returned()
        for name in back:
            del self._outages[name]
        is_relieved = bool(self.shed) and not self._is_full(self.check_system_health())
        if is_relieved:
            self.shed = frozenset()
            self._orchestrator.tighten()
        evenness = self._evenness()
        if not back and not is_relieved:
            return self._nothing(FLEET, evenness.why)
        self._orchestrator.lease_released()
        done = [f"back: {', '.join(back)}"] if back else []
        done += ["there is room again, and batch work is let in"] if is_relieved else []
        subject = back[0] if len(back) == 1 else FLEET
        balance = {"deviation": round(evenness.deviation_before, 4), "balance": evenness.why}
        return self._record(Remedy.RESTORE, subject, "; ".join(done), **balance)

    # -- inside

    @property
    def _now_s(self) -> float:
        return self._orchestrator.clock()

    def _meet(self, report: HealthReport) -> None:
        """Leave a node whose verdict has become such, or go on leaving it."""
        incident = detect_failover_need(report, self._verdicts.get(report.node, Verdict.HEALTHY))
        outage = self._outages.get(report.node)
        if incident is not None and (outage is None or _is_worse(incident, outage.incident.verdict)):
            self.trigger_failover(incident)
        elif outage is not None and report.verdict in OUT:
            moving = self._sort_out(outage)[1]
            if moving:
                why = f"it is still {report.verdict.value}; tasks sent elsewhere: {len(moving)}"
                self._record(Remedy.FAIL_OVER, report.node, why, moving=len(moving))
                self._move(outage, moving)

    def _sort_out(self, outage: Outage) -> tuple[list[Work], list[Work]]:
        """Part what a node works on into what is let finish, and what is to be sent elsewhere."""
        orchestrator, name, now_s = self._orchestrator, outage.incident.node, self._now_s
        state = orchestrator.fleet.nodes[name]
        is_down = outage.incident.verdict is Verdict.DOWN
        is_dead = is_down and (outage.is_told or orchestrator.fleet.health.monitor.fails_checks(name))
        silence = silence_of(state, is_dead=is_dead, silent_since_s=self._silent_since_s.get(name))
        if is_dead and not outage.is_forgotten and orchestrator.prefixes is not None:
            orchestrator.prefixes.forget_node(name)  # what it held is gone with it
            outage.is_forgotten = True
        finishing: list[Work] = []
        moving: list[Work] = []
        for work in work_on(orchestrator.in_flight, name):
            is_moved = is_stuck(work, silence, now_s) and may_move(orchestrator, work)
            (moving if is_moved else finishing).append(work)
        return finishing, moving

    def _move(self, outage: Outage, moving: list[Work]) -> None:
        info = ErrorInfo(502, f"node {outage.incident.node} is down: {outage.incident.why}")
        for work in moving:
            work.exchange.leave(work.attempt, info)

    def _on_change(self, event: Event) -> None:
        """See whether a change leaves somebody without a node."""
        del event
        self._let_back_all()

    def _let_back_all(self) -> set[str]:
        fleet = self._orchestrator.fleet
        if not (fleet.health.monitor.ejected or fleet.health.monitor.unreachable):
            return set()
        return {node for model in tuple(fleet.models) for node in self._let_back(model)}

    def _let_back(self, name: str) -> tuple[str, ...]:
        """Ask those who are only held to be unwell, where nobody else is left under a name; returns who that is."""
        fleet = self._orchestrator.fleet
        lineup = fleet.lineup(name)
        if lineup.pool is not None:
            return ()
        nodes = tuple(dict.fromkeys(one.candidate.node.name for one in lineup.rejected if one.reason in _HELD_UNWELL))
        for node in nodes:
            fleet.force_recovery(node, self._now_s)
            self._record(Remedy.RESTORE, node, "nobody else is left for one of its models: asked all the same")
        if nodes:
            self._orchestrator.lease_released()
        return nodes

    def _make_room(self) -> None:
        self._orchestrator.fleet.expire(self._now_s)
        self._orchestrator.lease_released()

    def _is_exhausted(self, health: SystemHealth, now_s: float) -> bool:
        """Tell whether all that is left is leased, and somebody urgent has waited for long."""
        queue = self._orchestrator.lobby.queue
        if not len(queue) or self.shed or not self._is_full(health):
            return False
        classes, limits = queue.state(now_s).classes, queue.config.max_wait_s
        return any(classes[kind].oldest_wait_s > PATIENCE * limits.of(kind) for kind in _URGENT)

    def _is_full(self, health: SystemHealth) -> bool:
        left = [report.verdict for report in health.nodes.values() if report.verdict not in OUT]
        return bool(left) and all(verdict is Verdict.SATURATED for verdict in left)

    def _returned(self) -> list[str]:
        """Return the nodes that were left and are given tasks again; one on probation is not back yet."""
        nodes = self._orchestrator.fleet.nodes
        return [name for name in self._outages if name in nodes and is_back(nodes[name])]

    def _evenness(self) -> LoadAdjustment:
        """Let the balancer say how even the loads are."""
        loads = []
        for name, report in self.check_system_health().nodes.items():
            state = self._orchestrator.fleet.nodes[name]
            account = state.account
            leased = Needs(account.in_flight, account.tokens, 0, account.memory_bytes, account.gpu_memory_bytes)
            excess_ms = None if report.excess_s is None else report.excess_s * 1000.0
            loads.append(
                NodeLoad(
                    name,
                    account.capacity,
                    leased,
                    frozenset(state.candidates),
                    not is_out(state),
                    report.error_rate or 0.0,
                    report.outcomes,
                    excess_ms,
                )
            )
        return self._orchestrator.balancer.rebalance(FleetLoad(tuple(loads)), self._now_s)

    def _record(self, remedy: Remedy, subject: str, why: str, **detail: object) -> RecoveryAction:
        """Tell what was done, and return it."""
        now_s = self._now_s
        self._orchestrator.tell(Recovered(at_s=now_s, remedy=remedy.value, subject=subject, why=why))
        told = {name: str(value) for name, value in detail.items()}
        return RecoveryAction(remedy=remedy, subject=subject, why=why, at_s=now_s, detail=told)

    def _nothing(self, subject: str, why: str) -> RecoveryAction:
        return RecoveryAction(remedy=Remedy.NONE, subject=subject, why=why, at_s=self._now_s)


def _is_worse(incident: Incident, than: Verdict) -> bool:
    report = HealthReport(node=incident.node, verdict=incident.verdict)
    return detect_failover_need(report, than) is not None


def _why_left(incident: Incident, plan: FailoverPlan) -> str:
    told = f"{incident.verdict.value}: {incident.why}" if incident.why else incident.verdict.value
    told += f"; tasks let finish: {len(plan.finishing)}, sent elsewhere: {len(plan.moving)}"
    return told + (f"; nobody else has {', '.join(plan.stranded)}" if plan.stranded else "")


def _why_refused(error: RoutingError) -> str:
    """Say why a task is refused, without the name that its caller asked for."""
    if isinstance(error, NoCandidateError):
        return ", ".join(f"{count} x {reason}" for reason, count in sorted(error.reasons.items()))
    if isinstance(error, OverloadedError):
        return f"there is no room for it ({error.reason})"
    return "nothing by that name is served"


def _conforms(recovery: Recovery) -> tuple[HealthAwareRouting, ErrorRecovery]:
    """Let the type checker prove that it is both."""
    return recovery, recovery
