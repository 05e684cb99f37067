"""What a newcomer has to expect: how long it would wait, and when it had better come."""

from fairlead.admission.ageing import CLASSES, KIND_OF, LEVELS, Ageing
from fairlead.admission.appointments import Appointments, may_promise
from fairlead.admission.arrivals import RecentRate, UsualRate
from fairlead.admission.drain import DrainRate
from fairlead.admission.fair_share import FairShare
from fairlead.admission.roster import Roster

_LEAST_LEFT = 0.1
"""Share of the drain rate that a class is thought to get at least, however much comes that is more urgent."""


class Outlook:
    """Forecasts from what waits, what went away and what came."""

    def __init__(self, shares: FairShare, roster: Roster, ageing: Ageing) -> None:
        self.drain = DrainRate()
        self._shares = shares
        self._roster = roster
        self._ageing = ageing
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

    def ahead_tokens(self, level: int, tokens: int, tenant: str | None, now_s: float) -> float:
        """Return what will be let in before a newcomer of that level.

        That is all that is more urgent, or has become as urgent by waiting; and of its own level what its tenant has
        there and as much of others as their shares let in meanwhile: (own + tokens) * (weights of the others / its
        weight).
        """
        at = self._roster.tokens_at
        level_tokens = at[level]
        ahead = sum(at[:level]) + self._aged_tokens(level, now_s)
        if not level_tokens:
            return ahead
        shares = self._shares
        account = shares.tenants.get(tenant)
        weight = shares.weight_of(tenant) if account is None else account.weight
        others = shares.weight_waiting - (weight if account is not None and account.waiting else 0.0)
        own = account.tokens[level] if account is not None else 0
        return ahead + min(level_tokens, own + (own + tokens) * max(others, 0.0) / weight)

    def _aged_tokens(self, level: int, now_s: float) -> float:
        """Return about how much of what came less urgent counts as that urgent by now."""
        at, oldest_s, aged_share = self._roster.tokens_at, self._roster.oldest_s, self._ageing.aged_share
        return sum(
            [at[base] * aged_share(base, level, oldest_s(base, now_s)) for base in range(level + 1, LEVELS) if at[base]]
        )

    def wait_s(self, priority: int, tokens: int, tenant: str | None, now_s: float) -> float:
        """Return the wait of a newcomer: what is ahead of it / what goes away and is not taken by more urgent work.

        0.0 where nothing is ahead, and where nothing is known.
        """
        ahead = self.ahead_tokens(priority, tokens, tenant, now_s)
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
        backlog = sum([tokens for level, tokens in enumerate(self._roster.tokens_at) if KIND_OF[level] <= kind])
        return (backlog / left if left > 0 else 0.0), left
