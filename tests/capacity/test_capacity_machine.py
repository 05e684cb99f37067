"""Whatever happens in whatever order, over the whole of fleet, lobby and dispatch: the books stay exact."""

from collections import Counter
from collections.abc import Collection
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fairlead.admission.config import QueueConfig, WaitLimits
from fairlead.admission.queue import PATIENCE
from fairlead.allocation import Account, Lease
from fairlead.domain import Capacity, Needs, Node, PriorityClass, Task, class_of
from fairlead.domain.report import NodeReport
from fairlead.engine.fleet import FleetSettings
from fairlead.engine.lessor import is_room_in_all
from fairlead.engine.lobby import _line
from fairlead.errors import Fault
from fairlead.health import CircuitBreakerConfig
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.catalog import BUILT_IN
from fairlead.routing.contract import Pool
from fairlead.testing import Behaviour, ServiceTimes, TaskRecord, VirtualFleet, always

pytestmark = pytest.mark.heavy

CEILING = 0.8
LIMITS = WaitLimits(interactive=15.0, normal=60.0, batch=120.0)
TIMES = ServiceTimes(prefill_tokens_per_s=1000.0)
SWEEP_S = 0.25
NAMES = ("a", "b", "c", "d")
FAULTS = (Fault.UNAVAILABLE, Fault.CONNECT, Fault.RATE_LIMITED, Fault.CONTEXT)

CAPACITIES = st.builds(
    Capacity,
    slots=st.none() | st.integers(1, 5),
    tokens=st.none() | st.integers(300, 3000),
    requests_per_minute=st.none() | st.integers(2, 20),
)


class Fleets(RuleBasedStateMachine):
    """Anything that may happen to a fleet."""

    @initialize(strategy=st.sampled_from(tuple(BUILT_IN)), capacity=CAPACITIES)
    def begin(self, strategy: str, capacity: Capacity) -> None:
        fleet_settings = FleetSettings(
            max_node_utilization=CEILING,
            slow_start_s=5.0,
            lease_ttl_s=60.0,
            breaker=CircuitBreakerConfig(failure_threshold=2, timeout_s=3.0),
        )
        self.virtual = VirtualFleet(
            make_strategy(strategy, RoutingSettings()),
            settings=fleet_settings,
            queue=QueueConfig(max_waiting=8, max_wait_s=LIMITS),
            shares={"x": 3.0},
        )
        self.numbers = count()
        self.ends: Counter[str] = Counter()
        self.take = self.virtual.fleet.ledger.take
        self.virtual.fleet.ledger.take = self.checked_take  # type: ignore[method-assign]  # to see every lease
        self.add("a", capacity)

    # -- what happens

    @rule(
        priority=st.integers(0, 9),
        tenant=st.sampled_from((None, "x", "y")),
        read=st.integers(1, 1500),
        written=st.integers(1, 800),
        is_limited=st.booleans(),
        least=st.none() | st.integers(1, 50),
        patience_s=st.none() | st.floats(0.1, 60.0),
        n=st.integers(1, 6),
    )
    def arrive(
        self,
        priority: int,
        tenant: str | None,
        read: int,
        written: int,
        is_limited: bool,
        least: int | None,
        patience_s: float | None,
        n: int,
    ) -> None:
        now_s = self.virtual.time.now_s
        for number in (next(self.numbers) for _ in range(n)):
            task = Task(
                f"t{number}",
                number,
                model="m",
                input_tokens=read,
                output_tokens=written if is_limited else 0,
                tenant=tenant,
                deadline_s=None if patience_s is None else now_s + patience_s,
                priority=priority,
                min_output_tokens=least,
            )
            self.virtual.submit(now_s, task, written, self.ended)
        self.settle()

    @rule(seconds=st.sampled_from((0.05, 0.3, 2.0, 15.0)))
    def wait(self, seconds: float) -> None:
        self.virtual.time.run_until(self.virtual.time.now_s + seconds)

    @rule(data=st.data())
    @precondition(lambda self: any(one.ended_s is None for one in self.virtual.records))
    def cancel(self, data: st.DataObject) -> None:
        there = [one for one in self.virtual.records if one.ended_s is None]
        self.virtual.cancel(self.virtual.time.now_s, data.draw(st.sampled_from(there)))
        self.settle()

    @rule(name=st.sampled_from(NAMES), capacity=CAPACITIES)
    def add(self, name: str, capacity: Capacity) -> None:
        if name not in self.virtual.fleet.nodes:
            self.virtual.add(Node(name, capacity=capacity), Behaviour(times=TIMES))
            self.heard()

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if name in self.virtual.fleet.nodes and len(self.virtual.fleet.nodes) > 1:
            self.virtual.fleet.remove("m", name, self.virtual.time.now_s)

    @rule(name=st.sampled_from(NAMES), is_draining=st.booleans())
    def drain(self, name: str, is_draining: bool) -> None:
        if name in self.virtual.fleet.nodes:
            self.virtual.fleet.drain(name, is_draining)
            self.heard()

    @rule(name=st.sampled_from(NAMES), capacity=CAPACITIES)
    def change(self, name: str, capacity: Capacity) -> None:
        if name in self.virtual.fleet.nodes:
            self.virtual.fleet.hear(NodeReport(node=name, sampled_at_s=self.virtual.time.now_s, kind="vllm"), capacity)
            self.heard()

    @rule(name=st.sampled_from(NAMES), fault=st.none() | st.sampled_from(FAULTS))
    def misbehave(self, name: str, fault: Fault | None) -> None:
        self.virtual.behave(name, Behaviour(times=TIMES) if fault is None else Behaviour(fails=always(fault)))

    # -- what is always so

    @invariant()
    def the_sum_of_the_leases_is_what_is_leased(self) -> None:
        sums: dict[Account, list[Needs]] = {state.account: [] for state in self.virtual.fleet.nodes.values()}
        for lease in self.virtual.fleet.ledger:
            sums.setdefault(lease.account, []).append(lease.needs)
        for account, needs in sums.items():
            assert account.in_flight == sum(one.slots for one in needs)
            assert account.tokens == sum(one.tokens for one in needs)

    @invariant()
    def nobody_waits_too_long(self) -> None:
        now_s = self.virtual.time.now_s
        for waiting in self.waiting():
            assert now_s - waiting.submitted_s <= LIMITS.of(class_of(waiting.task.priority)) + 2 * SWEEP_S

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Of every line somebody finds no room, unless it makes room for one that has waited for half its time."""
        lobby, now_s = self.virtual.lobby, self.virtual.time.now_s
        self.virtual._admit_soon()
        self.settle()
        lines: dict[object, list[bool]] = {}
        for dispatch in lobby._dispatches.values():
            task = dispatch.task
            if now_s - dispatch.begun_s >= PATIENCE * LIMITS.of(class_of(task.priority)):
                return
            line = _line(task, is_again=dispatch.attempts > 0)
            lines.setdefault(line, []).append(self.has_room(task, dispatch._tried))
        assert not any(all(line) for line in lines.values()), lines

    def teardown(self) -> None:
        if not hasattr(self, "virtual"):
            return
        virtual = self.virtual
        virtual.run()
        assert len(virtual.fleet.ledger) == len(virtual.lobby.queue) == len(virtual.lobby._dispatches) == 0
        assert not virtual.lobby._yielding
        assert not virtual.lobby._gave_way
        assert all(self.ends[record.task.id] == 1 for record in virtual.records)
        assert all(account.in_flight == account.tokens == 0 for account in virtual.fleet.allocator.accounts.values())
        for record in virtual.records:
            assert record.succeeded + (record.error is not None or record.fault is not None) + record.is_cancelled == 1
            assert record.gave_way <= 1

    # -- how it is seen

    def ended(self, record: TaskRecord) -> None:
        self.ends[record.task.id] += 1

    def settle(self) -> None:
        self.virtual.time.run_until(self.virtual.time.now_s)

    def heard(self) -> None:
        self.virtual._admit_soon()
        self.settle()

    def waiting(self) -> list[TaskRecord]:
        return [one for one in self.virtual.records if one.task.id in self.virtual.lobby.queue]

    def has_room(self, task: Task, tried: Collection[str | tuple[str, str]]) -> bool:
        fleet, now_s = self.virtual.fleet, self.virtual.time.now_s
        pool = fleet.lineup("m").pool
        there = [] if pool is None else [one for one in pool.candidates if one.node.name not in tried]
        if not there:
            return False
        asked = [
            on for on in fleet.lessor.terms(task) if not on.is_joint or is_room_in_all(Pool("m", there), on.ceiling)
        ]
        return any(fleet.lessor._has_room(task, one, now_s, on) for one in there for on in asked)

    def checked_take(self, account: Account, holder: object, *rest: object, **named: object) -> Lease | None:
        was_idle = not account.in_flight
        lease: Lease | None = self.take(account, holder, *rest, **named)  # type: ignore[arg-type]
        if lease is not None and not account.is_roomy:
            assert account.utilization <= 1.0
            assert isinstance(holder, Task)
            is_batch = class_of(holder.priority) is PriorityClass.BATCH
            assert not is_batch or was_idle or account.utilization <= CEILING + 1e-9
        return lease


def check(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Fleets,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_books_are_exact_whatever_happens() -> None:
    check(150, 25)


@pytest.mark.soak
def test_the_books_are_exact_whatever_happens_for_long() -> None:
    check(10_000, 40)
