"""The ledger under any interleaving: what is in flight is what is leased, no more and no less."""

import gc
import tracemalloc
from collections import Counter
from math import isclose

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle as Leases
from hypothesis.stateful import (
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from fairlead.allocation import Account, Lease, Ledger
from fairlead.domain import ONE_SLOT, Capacity, Needs
from fairlead.errors import LeaseError

TTLS_S = (5.0, 30.0, 600.0)
NEEDS = (
    ONE_SLOT,
    Needs(1, 50, 100),
    Needs(2, 300, 250),
    Needs(1, 0, 40, memory_bytes=200, gpu_memory_bytes=30),
    Needs(0, 10, 10),
)
CAPACITIES = (
    Capacity(),
    Capacity(slots=3, tokens=700, memory_bytes=500),
    Capacity(slots=5, requests_per_minute=4, tokens_per_minute=800, gpu_memory_bytes=70),
)
RESOURCES = ("slots", "tokens", "memory_bytes", "gpu_memory_bytes")
WINDOW_S = 60.0


class Charge:
    """What a lease was charged against the limits per minute of its account."""

    def __init__(self, at_s: float, tokens: int) -> None:
        self.at_s = at_s
        self.tokens = tokens


class Books:
    """Kept beside an account: its limits, and what was charged to them since they are there."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.requests: list[Charge] = []
        self.tokens: list[Charge] = []

    def resize(self, capacity: Capacity) -> None:
        self.account.resize(capacity)
        if capacity.requests_per_minute is None:
            self.requests = []
        if capacity.tokens_per_minute is None:
            self.tokens = []

    def charge(self, now_s: float, needs: Needs) -> Charge:
        charge = Charge(now_s, needs.tokens)
        if self.account.capacity.requests_per_minute is not None:
            self.requests.append(charge)
        if self.account.capacity.tokens_per_minute is not None:
            self.tokens.append(charge)
        return charge

    def charged(self, since_s: float) -> tuple[int, int]:
        """Return requests and tokens charged after a time."""
        requests = sum(one.at_s > since_s for one in self.requests)
        return requests, sum(one.tokens for one in self.tokens if one.at_s > since_s)

    def counted(self, now_s: float) -> tuple[int, int]:
        """Return what has to count now: what was charged in a second counts until sixty seconds after its end."""
        requests = sum(int(one.at_s) + WINDOW_S + 1 > now_s for one in self.requests)
        return requests, sum(one.tokens for one in self.tokens if int(one.at_s) + WINDOW_S + 1 > now_s)


def amount(needs: Needs, resource: str) -> int:
    return int(getattr(needs, resource))


class LedgerMachine(RuleBasedStateMachine):
    """Takes, gives back (also twice and too late), resizes, renews, expires and changes capacities in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.ledger = Ledger()
        self.accounts = [Account(name=str(i), capacity=capacity) for i, capacity in enumerate(CAPACITIES)]
        self.books = [Books(account) for account in self.accounts]
        self.open: dict[Lease, float] = {}
        self.charges: dict[Lease, Charge] = {}
        self.expired = 0

    leases = Leases("leases")

    # -- what should be

    def held(self, account: Account, resource: str) -> int:
        return sum(amount(lease.needs, resource) for lease in self.open if lease.account is account)

    def lacks(self, books: Books, needs: Needs, ceiling: float) -> bool:
        """Tell whether there is too little, from what is leased and charged alone."""
        account = books.account
        if account.probe_limit is not None:
            probes = sum(lease.is_probe for lease in self.open if lease.account is account)
            if probes >= account.probe_limit:
                return True
        is_idle = self.held(account, "slots") == 0
        for resource in RESOURCES:
            there = getattr(account.capacity, resource)
            after = self.held(account, resource) + amount(needs, resource)
            if there is None or ("memory" in resource and not amount(needs, resource)):
                continue
            allowed = there if is_idle else there * min(ceiling, account.warmth)
            if resource == "slots" and not is_idle and account.warmth < 1.0:
                allowed = min(there * ceiling, -(-there * account.warmth // 1))
            if after > allowed + 1e-9:
                return True
        limits = (account.capacity.requests_per_minute, account.capacity.tokens_per_minute)
        spent = (1, needs.tokens)
        counted = books.counted(self.now_s)
        return any(
            limit is not None and used + more > limit for limit, used, more in zip(limits, counted, spent, strict=True)
        )

    # -- what happens

    @rule(
        target=leases,
        which=st.integers(0, len(CAPACITIES) - 1),
        ttl_s=st.sampled_from(TTLS_S),
        needs=st.sampled_from(NEEDS),
        ceiling=st.sampled_from([0.5, 0.8, 1.0]),
        model=st.sampled_from(["", "a", "b"]),
    )
    def take(
        self, which: int, ttl_s: float, needs: Needs, ceiling: float, model: str
    ) -> Lease | MultipleResults[Lease]:
        books = self.books[which]
        account = books.account
        lacks = self.lacks(books, needs, ceiling)
        lease = self.ledger.take(account, self, self.now_s, ttl_s, needs, ceiling, model)
        assert (lease is None) == lacks
        if lease is not None:
            assert lease.is_probe == (account.probe_limit is not None)
            self.open[lease] = self.now_s + ttl_s
            self.charges[lease] = books.charge(self.now_s, needs)
            for resource in RESOURCES:
                there = getattr(account.capacity, resource)
                assert there is None or not amount(needs, resource) or self.held(account, resource) <= there
            requests, tokens = books.charged(self.now_s - WINDOW_S)
            assert requests <= (account.capacity.requests_per_minute or requests)
            assert tokens <= (account.capacity.tokens_per_minute or tokens)
        return multiple() if lease is None else lease

    @rule(lease=leases, used=st.sampled_from([None, 0, 30, 5_000, -7]))
    def give_back(self, lease: Lease, used: int | None) -> None:
        was_open = self.open.pop(lease, None) is not None
        assert self.ledger.give_back(lease, used) == was_open
        if was_open and used is not None:
            self.charges[lease].tokens = max(used, 0)

    @rule(lease=consumes(leases))
    def vanish(self, lease: Lease) -> None:
        """Its owner forgets it: only its expiry can free it."""

    @rule(lease=leases, needs=st.sampled_from(NEEDS))
    def resize(self, lease: Lease, needs: Needs) -> None:
        if lease not in self.open:
            with pytest.raises(LeaseError, match="is over"):
                self.ledger.resize(lease, needs)
            return
        before, capacity = lease.needs, lease.account.capacity
        exceeds = [
            resource
            for resource in RESOURCES
            if amount(needs, resource) > amount(before, resource)
            and getattr(capacity, resource) is not None
            and self.held(lease.account, resource) - amount(before, resource) + amount(needs, resource)
            > getattr(capacity, resource)
        ]
        assert self.ledger.resize(lease, needs) == (not exceeds)
        assert lease.needs == (before if exceeds else needs)
        if not exceeds:
            self.charges[lease].tokens += needs.tokens - before.tokens

    @rule(lease=leases)
    def renew(self, lease: Lease) -> None:
        self.ledger.renew(lease, self.now_s)
        if lease in self.open:
            self.open[lease] = self.now_s + lease.ttl_s

    @rule(by_s=st.sampled_from([0.0, 0.3, 1.0, 5.0, 29.5, 61.0, 700.0]))
    def time_goes_by(self, by_s: float) -> None:
        self.now_s += by_s

    @rule()
    def expire(self) -> None:
        due = {lease for lease, at_s in self.open.items() if at_s <= self.now_s}
        assert not due or self.ledger.due_s <= self.now_s, "the ledger would not have been asked in time"
        assert set(self.ledger.expire(self.now_s)) == due
        assert self.ledger.due_s <= min((self.open[lease] for lease in self.open.keys() - due), default=float("inf"))
        for lease in due:
            del self.open[lease]
        self.expired += len(due)

    @rule(
        which=st.integers(0, len(CAPACITIES) - 1),
        capacity=st.sampled_from(CAPACITIES),
        limit=st.sampled_from([None, None, 1, 2]),
        warmth=st.sampled_from([0.1, 0.5, 1.0, 1.0]),
    )
    def a_node_changes(self, which: int, capacity: Capacity, limit: int | None, warmth: float) -> None:
        self.books[which].resize(capacity)
        self.accounts[which].probe_limit = limit
        self.accounts[which].warmth = warmth

    # -- what always holds

    @invariant()
    def books_agree(self) -> None:
        assert len(self.ledger) == len(self.open)
        assert set(self.ledger) == self.open.keys()
        assert all(self.ledger.find(lease.id, lease.ttl_s) is lease for lease in self.open)
        assert self.ledger.expired_total == self.expired
        for books in self.books:
            account = books.account
            assert account.in_flight == self.held(account, "slots")
            assert account.tokens == self.held(account, "tokens")
            assert account.memory_bytes == self.held(account, "memory_bytes")
            assert account.gpu_memory_bytes == self.held(account, "gpu_memory_bytes")
            assert account.probes == sum(lease.is_probe for lease in self.open if lease.account is account)
            models = Counter(lease.model for lease in self.open if lease.account is account)
            assert self.ledger.models_at_work().get(account.name, {}) == models
            shares = [
                self.held(account, resource) / getattr(account.capacity, resource)
                for resource in RESOURCES
                if getattr(account.capacity, resource) is not None
            ]
            assert isclose(account.utilization, max(shares, default=0.0))

    @invariant()
    def limits_per_minute_count_what_was_charged(self) -> None:
        for books in self.books:
            for window, charged in zip(books.account.rates, books.counted(self.now_s), strict=True):
                assert window is None or window.used(self.now_s) == charged

    @precondition(lambda self: not self.open)
    @invariant()
    def nothing_is_left_behind(self) -> None:
        for account in self.accounts:
            assert account.in_flight == account.probes == account.tokens == account.memory_bytes == 0


class LongLedgerMachine(LedgerMachine):
    """The same over ten thousand interleavings."""


LedgerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None, derandomize=True)
LongLedgerMachine.TestCase.settings = settings(
    max_examples=10_000, stateful_step_count=50, deadline=None, derandomize=True
)
TestLedger = LedgerMachine.TestCase
TestLedgerForLong = pytest.mark.soak(LongLedgerMachine.TestCase)


def test_a_lease_that_expired_is_given_back_without_effect() -> None:
    ledger, account = Ledger(), Account(1)
    lost = ledger.take(account, None, 0.0, 10.0)
    assert lost is not None
    assert ledger.expire(9.999) == []
    assert ledger.expire(10.0) == [lost]
    following = ledger.take(account, None, 10.0, 10.0)
    assert following is not None
    assert not ledger.give_back(lost)
    assert account.in_flight == 1, "the late release must not free the slot of the next owner"


def test_progress_keeps_a_lease_alive() -> None:
    ledger, account = Ledger(), Account()
    slow, silent = (ledger.take(account, None, 0.0, 10.0) for _ in range(2))
    assert slow is not None
    for now_s in (6.0, 12.0, 18.0):
        ledger.renew(slow, now_s)
    assert ledger.expire(18.0) == [silent]
    assert account.in_flight == 1


def test_memory_follows_what_is_leased_not_what_ever_was() -> None:
    ledger, account = Ledger(), Account()

    def pass_through(n: int) -> None:
        for i in range(n):
            lease = ledger.take(account, None, float(i), 600.0)
            assert lease is not None
            ledger.give_back(lease)

    pass_through(1_000)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        pass_through(20_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert len(ledger) == 0
