"""What the monitor knows of one node: its outcomes, its checks, and the verdict on it."""

from fairlead.domain.health import HealthReport, Verdict
from fairlead.health.config import HealthConfig
from fairlead.health.pressure import NOTHING_SEEN, Seen
from fairlead.health.window import Figures, Window

EASE = 0.8
"""A node is degraded until it is below this share of the threshold, so that one on the verge does not change often."""
FULL = 1.0 - 1e-9
ROOM = 0.9
"""A node is saturated from `FULL` on, until less than this share of it is leased, for the same reason."""


class Standing:
    """One node as the monitor sees it. Written by its monitor alone."""

    __slots__ = (
        "_config",
        "_failing_since_s",
        "_is_out",
        "check_why",
        "failed_checks",
        "figures",
        "has_been_checked",
        "is_ejected",
        "is_faulty",
        "is_slow",
        "name",
        "recovered_at_s",
        "seen",
        "since_s",
        "verdict",
        "why",
        "why_ejected",
        "window",
    )

    def __init__(self, name: str, config: HealthConfig) -> None:
        self.name = name
        self._config = config
        self.window = Window(config.window_s)
        self.figures = Figures()
        self.seen = NOTHING_SEEN
        self.verdict, self.why, self.since_s = Verdict.HEALTHY, "", 0.0
        self._is_out = self.is_ejected = self.is_faulty = self.is_slow = False
        self.why_ejected = "left out since before a restart"
        self.recovered_at_s: float | None = None
        self.failed_checks, self.check_why = 0, ""
        self.has_been_checked = False
        self._failing_since_s = 0.0

    def checked(self, is_well: bool, now_s: float, why: str) -> bool:
        """Note what a check found; returns whether the node is back: the check before it failed."""
        self.has_been_checked = True
        is_back = is_well and self.failed_checks > 0
        if is_well:
            self.failed_checks, self.check_why = 0, ""
        else:
            if self.failed_checks == 0:
                self._failing_since_s = now_s
            self.failed_checks, self.check_why = self.failed_checks + 1, why
        if is_back:
            self.recovered_at_s = now_s
        return is_back

    @property
    def is_unreachable(self) -> bool:
        """Whether enough checks in a row failed, and no task has succeeded since the first of them."""
        enough = self.failed_checks >= self._config.check.down_after
        return enough and self.window.succeeded_s < self._failing_since_s

    @property
    def is_comparable(self) -> bool:
        """Whether enough is known of it, and it is asked like any other, so that its peers are judged by it."""
        is_asked = not (self.seen.is_open or self.is_ejected or self.is_unreachable)
        return is_asked and self.figures.outcomes >= self._config.min_outcomes

    def see(self, seen: Seen, now_s: float, *, is_ejected: bool) -> None:
        """Take in what the owner sees, and begin anew where the node is back: its outage has been paid for."""
        self.seen, self.is_ejected = seen, is_ejected
        was_out, self._is_out = self._is_out, seen.is_open or is_ejected or self.is_unreachable
        if was_out and not self._is_out:
            self.window.clear()
        self._sum_up(now_s)

    def eject(self, why: str) -> None:
        """Leave it out from now on."""
        self.is_ejected = self._is_out = True
        self.why_ejected = why

    def _sum_up(self, now_s: float) -> None:
        """Bring the figures, and whether they are bad, up to date."""
        config = self._config
        self.figures = own = self.window.figures(now_s)
        limit = config.max_error_rate * (EASE if self.is_faulty else 1.0)
        self.is_faulty = own.outcomes >= config.min_outcomes and own.failures > limit * own.outcomes
        limit_s = config.max_excess_s * (EASE if self.is_slow else 1.0)
        self.is_slow = own.timed >= config.min_outcomes and own.excess_s > limit_s

    def judge(self, *, is_panic: bool) -> tuple[Verdict, str]:
        """Return the worst verdict that holds, and why."""
        seen = self.seen
        if seen.is_open:
            return Verdict.DOWN, "its circuit is open"
        is_kept = is_panic or seen.is_sole
        if self.is_unreachable and not is_kept:
            return Verdict.DOWN, self._no_answer()
        if self.is_ejected and not is_kept:
            return Verdict.EJECTED, self.why_ejected
        if seen.is_draining:
            return Verdict.DRAINED, "a person drains it"
        if seen.utilization >= (ROOM if self.verdict is Verdict.SATURATED else FULL):
            return Verdict.SATURATED, "all that it has is leased"
        why = self._complaint("most nodes are out" if is_panic else "it alone serves a model")
        return (Verdict.DEGRADED, why) if why else (Verdict.HEALTHY, "")

    @property
    def is_degraded(self) -> bool:
        """Whether it is to be ranked lower, whatever the verdict."""
        return self.is_faulty or self.is_slow or self.is_unreachable or self.is_ejected

    def report(self, now_s: float) -> HealthReport:
        """Return the verdict with the figures of now."""
        own, least = self.window.figures(now_s), self._config.min_outcomes
        return HealthReport(
            node=self.name,
            verdict=self.verdict,
            why=self.why,
            outcomes=own.outcomes,
            error_rate=own.failures / own.outcomes if own.outcomes >= least else None,
            excess_s=own.excess_s if own.timed >= least else None,
            is_reachable=not self.is_unreachable if self.has_been_checked else None,
            since_s=self.since_s,
        )

    def _complaint(self, why_kept: str) -> str:
        """Say what is wrong with a node that is asked all the same; empty where nothing is."""
        own = self.figures
        if self.is_unreachable or self.is_ejected:
            why = self._no_answer() if self.is_unreachable else self.why_ejected
            return f"{why}; still asked, since {why_kept}"
        if self.is_faulty:
            return f"{own.failures} of {own.outcomes} tasks failed"
        return f"first tokens come {own.excess_s:.2g} s later than prompt and queue explain" if self.is_slow else ""

    def _no_answer(self) -> str:
        told = f" ({self.check_why})" if self.check_why else ""
        return f"{self.failed_checks} checks in a row failed{told}"
