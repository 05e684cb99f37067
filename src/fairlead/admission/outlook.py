"""What a newcomer has to expect: how long it would wait, and when it had better come."""

from fairlead.admission.appointments import Appointments, may_promise
from fairlead.admission.arrivals import RecentRate, UsualRate
from fairlead.admission.drain import DrainRate
from fairlead.admission.fair_share import FairShare
from fairlead.admission.order import LEVELS
from fairlead.domain import PriorityClass, class_of

CLASSES = tuple(PriorityClass)
"""The most urgent first."""
KIND_OF = tuple(CLASSES.index(class_of(level)) for level in range(LEVELS))
"""Of each level the number of its class."""
_LEAST_LEFT = 0.1
"""Share of the drain rate that a class is thought to get at least, however much comes that is more urgent."""


class Outlook:
    """Forecasts from what waits, what went away and what came."""

    def __init__(self, shares: FairShare) -> None:
        self.drain = DrainRate()
        self.tokens_at = [0] * LEVELS
        """Of those who wait, by the level that they count as by now."""
        self._shares = shares
        self.usual = UsualRate()
        self._recent = tuple(RecentRate() for _ in CLASSES)
        self._appointments = Appointments(len(CLASSES))

    def came(self, priority: int, tokens: int, now_s: float) -> None:
        """A task came, whatever becomes of it."""
        self.usual.add(tokens, now_s)
        self._recent[KIND_OF[priority]].add(tokens, now_s)

    def backlog_begins(self, now_s: float) -> None:
        """The first one waits. What usually comes is what could be done until now, as nobody had to wait."""
        self.drain.begin(now_s, self.usual.rate(now_s))

    def ahead_tokens(self, level: int, tokens: int, tenant: str | None) -> float:
        """Return what will be let in before a newcomer of that level.

        That is all that is more urgent, and of its own level what its tenant has there and as much of others as their
        shares let in meanwhile: (own + tokens) * (weights of the others / its weight).
        """
        at = self.tokens_at
        level_tokens = at[level]
        ahead = sum(at[:level])
        if not level_tokens:
            return ahead
        shares = self._shares
        account = shares.tenants.get(tenant)
        weight = shares.weight_of(tenant) if account is None else account.weight
        others = shares.weight_waiting - (weight if account is not None and account.waiting else 0.0)
        own = account.tokens[level] if account is not None else 0
        return ahead + min(level_tokens, own + (own + tokens) * max(others, 0.0) / weight)

    def wait_s(self, priority: int, tokens: int, tenant: str | None, now_s: float) -> float:
        """Return the wait of a newcomer: what is ahead of it / what goes away and is not taken by more urgent work.

        0.0 where nothing is ahead, and where nothing is known.
        """
        ahead = self.ahead_tokens(priority, tokens, tenant)
        if not ahead:
            return 0.0
        drain = self.drain.rate(now_s)
        if not drain:
            return 0.0
        urgent = sum([one.rate(now_s) for one in self._recent[: KIND_OF[priority]]])
        return ahead / max(drain - urgent, _LEAST_LEFT * drain)

    def retry_after_s(self, priority: int, tokens: int, now_s: float) -> float:
        """Return when the next one of that kind who is refused should come."""
        clear_s, left = self._prospect(priority, now_s)
        return self._appointments.next_s(KIND_OF[priority], tokens, now_s, clear_s, left)

    def appoint_s(self, priority: int, tokens: int, now_s: float) -> float:
        """Return the same, and count on it that the task comes then."""
        kind = KIND_OF[priority]
        clear_s, left = self._prospect(priority, now_s)
        after_s = self._appointments.book(kind, tokens, now_s, clear_s, left)
        self.usual.promise(tokens, now_s + after_s)
        return after_s

    def _prospect(self, priority: int, now_s: float) -> tuple[float, float]:
        drain = self.drain.rate(now_s)
        left = may_promise(drain, self.usual.rate(now_s))
        kind = KIND_OF[priority]
        backlog = sum([tokens for level, tokens in enumerate(self.tokens_at) if KIND_OF[level] <= kind])
        return (backlog / left if left > 0 else 0.0), left
