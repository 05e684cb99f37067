"""The allocator under any interleaving: what is leased is what the accounts say, and never more than there is."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle as Allocations
from hypothesis.stateful import MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from fairlead.allocation import AllocationConfig, ResourceAllocator, is_batch_not_begun
from fairlead.domain import Capacity, ModelChain, Node, Task
from fairlead.domain.allocation import Allocation
from fairlead.errors import LeaseError

NODES = (
    (Node("a", slots=2), ("x",)),
    (Node("b", capacity=Capacity(slots=4, tokens=1_500, tokens_per_minute=3_000)), ("x", "y")),
    (Node("c", capacity=Capacity(tokens=800, gpu_memory_bytes=20_000)), ("y",)),
    (Node("d", capacity=Capacity(requests_per_minute=3)), ()),
)
ROUTES = ("x", "y", ModelChain(("x", "y")), ModelChain(("y", "x")))


class AllocatorMachine(RuleBasedStateMachine):
    """Allocates, streams, adjusts, gives back (also twice and too late), vanishes; nodes leave and come back."""

    allocations = Allocations("allocations")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.allocator = ResourceAllocator(AllocationConfig(default_output_tokens=120), is_batch_not_begun)
        self.open: dict[int, float] = {}
        self.ttl_s: dict[int, float] = {}
        self.reclaimed = 0

    @initialize()
    def nodes_join(self) -> None:
        self.allocator.needs.declare_memory("y", gpu_bytes_per_token=50)
        for node, models in NODES:
            self.allocator.add_node(node, models)

    def time_passed(self) -> None:
        """Whatever is told the time takes back what is due."""
        due = [lease_id for lease_id, at_s in self.open.items() if at_s <= self.now_s]
        for lease_id in due:
            del self.open[lease_id]
        self.reclaimed += len(due)

    @rule(
        target=allocations,
        route=st.sampled_from(ROUTES),
        input_tokens=st.integers(0, 900),
        limit=st.sampled_from([0, 50, 700]),
        least=st.sampled_from([None, 0, 20]),
        priority=st.integers(0, 9),
        timeout_ms=st.sampled_from([500.0, 9_000.0, 600_000.0]),
        preempt=st.booleans(),
    )
    def allocate(
        self,
        route: str | ModelChain,
        input_tokens: int,
        limit: int,
        least: int | None,
        priority: int,
        timeout_ms: float,
        preempt: bool,
    ) -> Allocation | MultipleResults[Allocation]:
        task = Task("t", 1, input_tokens=input_tokens, output_tokens=limit, min_output_tokens=least, priority=priority)
        self.reclaim()
        before = {name: (one.in_flight, one.tokens) for name, one in self.allocator.accounts.items()}
        result = self.allocator.allocate_resources(
            route, task, timeout_ms=timeout_ms, now_s=self.now_s, preempt=preempt
        )
        if preempt:
            assert not result.victims or result.allocated is not None
            for victim in result.victims:
                del self.open[victim]
        allocation = result.allocated
        if allocation is None:
            assert result.constraints
            assert result.reason
            assert before == {name: (one.in_flight, one.tokens) for name, one in self.allocator.accounts.items()}
            return multiple()
        assert allocation.lease_id not in self.open
        account = self.allocator.accounts[allocation.node]
        assert account.utilization <= 1.0 + 1e-9
        assert priority < 7 or before[allocation.node][0] == 0 or account.utilization <= 0.8 + 1e-9
        assert not allocation.is_cut or allocation.needs.output_tokens >= max(least or 0, 1)
        self.open[allocation.lease_id] = self.now_s + timeout_ms / 1000.0
        self.ttl_s[allocation.lease_id] = timeout_ms / 1000.0
        return allocation

    @rule(allocation=allocations, tokens=st.integers(0, 400))
    def stream(self, allocation: Allocation, tokens: int) -> None:
        self.time_passed()
        if allocation.lease_id in self.open:
            self.allocator.note_progress(allocation, tokens, self.now_s)
            self.open[allocation.lease_id] = self.now_s + allocation.ttl_s
            assert self.allocator.monitor_usage(allocation, self.now_s).output_tokens >= tokens
        else:
            with pytest.raises(LeaseError):
                self.allocator.note_progress(allocation, tokens, self.now_s)

    @rule(allocation=allocations)
    def adjust(self, allocation: Allocation) -> None:
        self.time_passed()
        if allocation.lease_id not in self.open:
            with pytest.raises(LeaseError):
                self.allocator.adjust_allocation(allocation, self.now_s)
            return
        adjusted = self.allocator.adjust_allocation(allocation, self.now_s)
        self.open[allocation.lease_id] = self.now_s + allocation.ttl_s
        assert adjusted.needs.output_tokens <= (allocation.output_limit or 10**9)
        assert self.allocator.adjust_allocation(adjusted, self.now_s) == adjusted, "once is enough"

    @rule(allocation=allocations, used=st.sampled_from([None, 0, 40, 2_000]))
    def release(self, allocation: Allocation, used: int | None) -> None:
        was_open = self.open.pop(allocation.lease_id, None) is not None
        assert self.allocator.release_resources(allocation, used) == was_open

    @rule(model=st.sampled_from("xy"), length=st.integers(0, 600))
    def learn(self, model: str, length: int) -> None:
        self.allocator.needs.learn(model, Task("t", 1).category, length, self.now_s)

    @rule(by_s=st.sampled_from([0.0, 0.4, 1.0, 10.0, 61.0, 700.0]))
    def time_goes_by(self, by_s: float) -> None:
        self.now_s += by_s

    @rule()
    def reclaim(self) -> None:
        self.time_passed()
        self.allocator.reclaim(self.now_s)

    @rule(which=st.integers(0, 2))
    def a_node_restarts_with_fewer_models(self, which: int) -> None:
        node, models = NODES[which]
        self.allocator.remove_node(node.name)
        self.allocator.add_node(node, models[:1])

    @invariant()
    def books_agree(self) -> None:
        ledger, accounts = self.allocator.ledger, self.allocator.accounts
        assert {lease.id for lease in ledger} == self.open.keys()
        assert ledger.expired_total == self.reclaimed
        for name, account in accounts.items():
            held = [lease for lease in ledger if lease.account is account]
            assert account.in_flight == sum(lease.needs.slots for lease in held)
            assert account.tokens == sum(lease.needs.tokens for lease in held)
            assert account.gpu_memory_bytes == sum(lease.needs.gpu_memory_bytes for lease in held)
            assert ledger.models_at_work().get(name, {}) == Counter(lease.model for lease in held)
            assert account.utilization <= 1.0 + 1e-9, name
        assert {lease.account for lease in ledger} <= set(accounts.values())


class LongAllocatorMachine(AllocatorMachine):
    """The same over ten thousand interleavings."""


AllocatorMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None, derandomize=True)
LongAllocatorMachine.TestCase.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None, derandomize=True
)
TestAllocator = AllocatorMachine.TestCase
TestAllocatorForLong = pytest.mark.soak(LongAllocatorMachine.TestCase)
