"""The ledger under any interleaving: what is in flight is what is leased, no more and no less."""

import gc
import tracemalloc

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle as Leases
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, precondition, rule

from fairlead.allocation import Account, Lease, Ledger

TTLS_S = (5.0, 30.0, 600.0)


class LedgerMachine(RuleBasedStateMachine):
    """Takes, gives back (also twice and too late), renews and expires in any order, and keeps books beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.ledger = Ledger()
        self.accounts = [Account(None), Account(1), Account(3)]
        self.open: dict[Lease, float] = {}
        self.expired = 0

    leases = Leases("leases")

    @rule(target=leases, which=st.integers(0, 2), ttl_s=st.sampled_from(TTLS_S))
    def take(self, which: int, ttl_s: float) -> Lease | None:
        account = self.accounts[which]
        has_room = account.slots is None or account.in_flight < account.slots
        may_probe = account.probe_limit is None or account.probes < account.probe_limit
        lease = self.ledger.take(account, self, self.now_s, ttl_s)
        assert (lease is not None) == (has_room and may_probe)
        if lease is not None:
            assert lease.is_probe == (account.probe_limit is not None)
            self.open[lease] = self.now_s + ttl_s
        return lease

    @rule(lease=leases)
    def give_back(self, lease: Lease | None) -> None:
        if lease is not None:
            assert self.ledger.give_back(lease) == (self.open.pop(lease, None) is not None)

    @rule(lease=consumes(leases))
    def vanish(self, lease: Lease | None) -> None:
        """Its owner forgets it: only its expiry can free it."""

    @rule(lease=leases)
    def renew(self, lease: Lease | None) -> None:
        if lease is not None:
            self.ledger.renew(lease, self.now_s)
            if lease in self.open:
                self.open[lease] = self.now_s + lease.ttl_s

    @rule(by_s=st.sampled_from([0.0, 1.0, 5.0, 29.5, 700.0]))
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

    @rule(which=st.integers(0, 2), limit=st.sampled_from([None, 1, 2]))
    def circuit_changes(self, which: int, limit: int | None) -> None:
        self.accounts[which].probe_limit = limit

    @invariant()
    def books_agree(self) -> None:
        assert len(self.ledger) == len(self.open)
        assert self.ledger.expired_total == self.expired
        for account in self.accounts:
            held = [lease for lease in self.open if lease.account is account]
            assert account.in_flight == len(held)
            assert account.probes == sum(lease.is_probe for lease in held)
            assert account.slots is None or account.in_flight <= account.slots

    @precondition(lambda self: not self.open)
    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert all(account.in_flight == account.probes == 0 for account in self.accounts)


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestLedger = LedgerMachine.TestCase


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
