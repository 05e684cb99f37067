"""Who of those that are there is fit to be given tasks now: circuits, cooling, draining, slow start and health.

Told the time, and told what came back; nothing here decides who is asked.
"""

import heapq
from typing import Any

from fairlead.allocation import Lease
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.domain import Outcome
from fairlead.engine.directory import Directory, FleetSettings
from fairlead.engine.events import CircuitChanged, NodeCooling, NodeDraining, PairBlocked
from fairlead.engine.fleet_health import FleetHealth
from fairlead.engine.node_state import NodeState
from fairlead.errors import FairleadError, Fault
from fairlead.health import Breaker, Cause, Circuit
from fairlead.load.slow_start import warmth
from fairlead.routing.candidate import Candidate

START_S = 1.0
"""Nodes that join within this time of the first belong to the fleet from the start."""
WARM_STEPS = 10


class Readiness(Directory):
    """The part of a fleet's state that says who is fit to be asked."""

    def __init__(self, settings: FleetSettings, allocator: ResourceAllocator) -> None:
        super().__init__(settings, allocator)
        self.health = FleetHealth(self.nodes, settings.health)
        self._due: list[tuple[float, int, NodeState]] = []
        self._kept_circuits: dict[str, object] = {}
        """What was kept of the circuits of nodes that have not joined yet."""

    # -- how nodes fare

    def review_health(self, now_s: float) -> bool:
        """Judge every node once a second, and leave out or rank lower who does not fare well; tells whether it did."""
        if not self.health.is_due(now_s):
            return False
        sole = self._sole()
        before = {name: (one.is_ejected, one.is_unreachable, one.health_share) for name, one in self.nodes.items()}
        self.outbox.extend(self.health.review(now_s, sole))
        for name, state in self.nodes.items():
            if before[name] != (state.is_ejected, state.is_unreachable, state.health_share):
                if any(before[name][:2]) and not (state.is_ejected or state.is_unreachable):
                    self._begin_slowly(state, now_s)
                state.weigh()
                self._lineups.clear()
        return True

    def _sole(self) -> frozenset[str]:
        """Return the nodes that alone can serve one of their models now."""
        sole: set[str] = set()
        for by_node in self._by_model.values():
            able = [name for name in by_node if self._is_able(self.nodes[name])]
            if len(able) < 2:
                sole.update(able or by_node)
        return frozenset(sole)

    def _is_able(self, state: NodeState) -> bool:
        is_out = state.breaker.state is Circuit.OPEN or state.is_draining
        return not (is_out or self.health.monitor.fails_checks(state.node.name))

    def checked(self, node: str, is_well: bool, now_s: float, why: str = "") -> None:
        """Note what came of asking a node whether it is there. One that is back is probed at once."""
        state = self.nodes.get(node)
        if state is None or not self.health.monitor.checked(node, is_well, now_s, why):
            return
        before = state.breaker.state
        cause = state.breaker.checked(now_s)
        if cause is not None:
            self._circuit_changed(state, before, cause, now_s)

    def _judge_node(self, candidate: Candidate, outcome: Outcome, now_s: float, lease: Lease | None) -> None:
        """Let an outcome count for its node's health and circuit.

        A half-open circuit is judged by its probes: what was sent before it opened proves nothing now.
        """
        state = self.nodes.get(candidate.node.name)
        if state is None:  # it left the fleet meanwhile
            return
        breaker = state.breaker
        before = breaker.state
        if lease is not None and not outcome.success and self._is_of_old(lease, state):
            return
        if before is Circuit.HALF_OPEN and lease is not None and not lease.is_probe:
            return
        self.health.learn(state, outcome, now_s)
        cause = breaker.succeeded(now_s) if outcome.success else breaker.failed(now_s)
        if cause is not None:
            self._circuit_changed(state, before, cause, now_s)

    def _is_of_old(self, lease: Lease, state: NodeState) -> bool:
        """Tell whether a task was sent before its node recovered: its failure proves nothing now."""
        recovered_at_s = self.health.monitor.recovered_at_s(state.node.name)
        return recovered_at_s is not None and lease.taken_s < recovered_at_s

    # -- what keeps tasks away

    def cool(self, candidate: Candidate, until_s: float, now_s: float) -> None:
        """Leave a node alone until a time, because it asked for that."""
        state = self.nodes.get(candidate.node.name)
        if state is None or until_s <= max(now_s, state.cooling_until_s or 0.0):
            return
        state.cooling_until_s = until_s
        self._wait_for(state, until_s)
        self.outbox.append(NodeCooling(at_s=now_s, node=state.node.name, until_s=until_s))

    def block(self, candidate: Candidate, fault: Fault, until_s: float, now_s: float) -> None:
        """Keep one model away from a node that refuses it, until a time."""
        state = self.nodes.get(candidate.node.name)
        name = candidate.model.name
        if state is None or name in state.blocked:
            return
        state.blocked[name] = until_s
        self._wait_for(state, until_s)
        node = state.node.name
        self.outbox.append(PairBlocked(at_s=now_s, model=name, node=node, fault=fault.value, until_s=until_s))

    def drain(self, node: str, draining: bool = True, now_s: float = 0.0) -> None:
        """Give a node no further tasks, or take it back into service."""
        state = self.nodes[node]
        if state.is_draining != draining:
            state.is_draining = draining
            self.outbox.append(NodeDraining(at_s=now_s, node=node, is_draining=draining))
        self._lineups.clear()

    def force_recovery(self, node: str, now_s: float) -> None:
        """Close a node's circuit and lift whatever else keeps tasks away, because a person says so."""
        state = self.nodes[node]
        state.cooling_until_s = None
        state.blocked.clear()
        self.health.monitor.forgive(node)
        state.is_ejected = state.is_unreachable = False
        before = state.breaker.state
        cause = state.breaker.force_closed(now_s)
        if cause is not None:
            self._circuit_changed(state, before, cause, now_s)
        self._lineups.clear()

    # -- what outlives a restart

    def kept_circuits(self) -> dict[str, object]:
        """Return the state of every node's circuit, and who was left out as an outlier, as plain data."""
        circuits = {name: state.breaker.kept() for name, state in self.nodes.items()}
        return {"circuits": self._kept_circuits | circuits, "ejections": self.health.monitor.kept()}

    def take_over_circuits(self, kept: Any, now_s: float) -> None:
        """Become what `kept_circuits` gave; nodes that join later find theirs. Raises FairleadError for other data."""
        if not isinstance(kept, dict) or not isinstance(kept.get("circuits"), dict):
            raise FairleadError("the kept circuits are damaged (no mapping of nodes)")
        for circuit in kept["circuits"].values():
            Breaker(self.settings.breaker).take_over(circuit)
        self.health.monitor.take_over(kept.get("ejections", {}))
        for name, circuit in kept["circuits"].items():
            state = self.nodes.get(name)
            if state is None:
                self._kept_circuits[str(name)] = circuit
            else:
                self._restore_circuit(state, circuit, now_s)

    def _restore_circuit(self, state: NodeState, kept: object, now_s: float) -> None:
        """Go on where a node's circuit stood; what was half open is probed anew.

        A clock that was set back meanwhile keeps none open for longer than its usual time.
        """
        breaker = state.breaker
        breaker.take_over(kept)
        breaker.opened_at_s = min(breaker.opened_at_s, now_s)
        if breaker.state is Circuit.OPEN:
            self._wait_for(state, breaker.reopens_at_s)
        elif breaker.state is Circuit.HALF_OPEN:
            state.account.probe_limit = self.settings.breaker.half_open_requests
            self._on_probation.add(state.node.name)
        self._lineups.clear()
        self.tick(now_s)

    # -- time

    def next_due_s(self) -> float | None:
        """When a node will next be looked at again, or None."""
        return self._due[0][0] if self._due else None

    def _wait_for(self, state: NodeState, at_s: float) -> None:
        self._registered += 1
        heapq.heappush(self._due, (at_s, self._registered, state))
        self._lineups.clear()

    def tick(self, now_s: float) -> None:
        """Let time do its work: circuits become half open, and nodes that were left alone are ready again."""
        if not self._due or self._due[0][0] > now_s:
            return
        while self._due and self._due[0][0] <= now_s:
            state = heapq.heappop(self._due)[2]
            if self.nodes.get(state.node.name) is not state:  # it left the fleet meanwhile
                continue
            if state.cooling_until_s is not None and state.cooling_until_s <= now_s:
                state.cooling_until_s = None
            for model in [model for model, until_s in state.blocked.items() if until_s <= now_s]:
                del state.blocked[model]
            before = state.breaker.state
            cause = state.breaker.waited(now_s)
            if cause is not None:
                self._circuit_changed(state, before, cause, now_s)
            if state.warms_since_s is not None:
                self._warm(state, now_s)
        self._lineups.clear()

    def _left(self, node: str) -> None:
        self.health.monitor.leave(node)

    def _joined(self, state: NodeState, now_s: float) -> None:
        """Let a node that joins a fleet at work begin slowly: what is there from the start has its share at once."""
        self.health.monitor.join(state.node.name)
        if (kept := self._kept_circuits.pop(state.node.name, None)) is not None:
            self._restore_circuit(state, kept, now_s)
        if self._first_joined_s is None:
            self._first_joined_s = now_s
        elif now_s - self._first_joined_s > START_S:
            self._begin_slowly(state, now_s)

    def _begin_slowly(self, state: NodeState, now_s: float) -> None:
        if self.settings.slow_start_s:
            state.warms_since_s = now_s
            self._warm(state, now_s)

    def _warm(self, state: NodeState, now_s: float) -> None:
        since_s, window_s = state.warms_since_s, self.settings.slow_start_s
        if since_s is None or now_s - since_s >= window_s:
            state.warms_since_s, state.warmth = None, 1.0
        else:
            state.warmth = warmth(since_s, now_s, window_s)
            self._wait_for(state, now_s + window_s / WARM_STEPS)
        state.weigh()
        self._lineups.clear()

    def _circuit_changed(self, state: NodeState, before: Circuit, cause: Cause, now_s: float) -> None:
        breaker = state.breaker
        is_half_open = breaker.state is Circuit.HALF_OPEN
        state.account.probe_limit = self.settings.breaker.half_open_requests if is_half_open else None
        if is_half_open:
            self._on_probation.add(state.node.name)
        else:
            self._on_probation.discard(state.node.name)
        if breaker.state is Circuit.OPEN:
            self._wait_for(state, breaker.reopens_at_s)
        if before is Circuit.HALF_OPEN and cause is Cause.RECOVERED:
            self._begin_slowly(state, now_s)
        self._lineups.clear()
        self.outbox.append(
            CircuitChanged(
                at_s=now_s, node=state.node.name, before=before.value, after=breaker.state.value, cause=cause.value
            )
        )
