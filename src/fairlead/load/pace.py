"""How fast prompts are read, and who was given how much to read of late: both learnt, both in tokens and seconds."""

from math import exp, log

from fairlead.load.prefix import Holder

LEAST_TOKENS = 256
"""Shorter prompts say little of the pace: their time to the first token is mostly something else."""
_QUANTILE = 0.75
_STEP = 0.05
_SLOWEST, _FASTEST = log(1.0), log(1e7)
LATELY_S = 60.0
"""After this long a piece of work counts 1/e."""
_REBASE = 20.0


class Pace:
    """Tokens of prompt read per second: a high quantile of what was seen, since waiting makes single values too low.

    Followed by bounded steps in the logarithm, up by q and down by 1 - q (Robbins and Monro, "A stochastic
    approximation method", Annals of Mathematical Statistics 1951).
    """

    __slots__ = ("_log", "_seen")

    def __init__(self, tokens_per_s: float) -> None:
        self._log = log(tokens_per_s)
        self._seen = 0

    @property
    def tokens_per_s(self) -> float:
        """Return the present estimate."""
        return exp(self._log)

    def observe(self, tokens: float, seconds: float) -> None:
        """Take in that so many tokens, not held before, were read within the time to the first token."""
        if tokens < LEAST_TOKENS or not seconds > 0.0:
            return
        self._seen += 1
        step = max(_STEP, 1.0 / self._seen)
        at = log(tokens / seconds)
        moved = self._log + (_QUANTILE * step if at > self._log else (_QUANTILE - 1.0) * step)
        self._log = min(max(moved, _SLOWEST), _FASTEST)


class Lately:
    """Work given to each, fading: the sum is kept for one moment and all new work is scaled to it (forward decay).

    Cormode, Shkapenyuk, Srivastava, Xu: "Forward decay: a practical time decay model for streaming systems", ICDE 2009.
    """

    def __init__(self) -> None:
        self.sums: dict[Holder, float] = {}
        """By whom, as of one moment; `per_sum` brings them to the present."""
        self._base_s = 0.0

    def add(self, who: Holder, amount: float, now_s: float) -> None:
        """Count some work."""
        if now_s - self._base_s > _REBASE * LATELY_S:
            fade = exp((self._base_s - now_s) / LATELY_S)
            self.sums = {one: kept for one, total in self.sums.items() if (kept := total * fade) > 1e-9}
            self._base_s = now_s
        self.sums[who] = self.sums.get(who, 0.0) + amount * exp((now_s - self._base_s) / LATELY_S)

    def per_sum(self, now_s: float) -> float:
        """Return the work per second that each unit of a sum stands for at this moment."""
        return exp((self._base_s - now_s) / LATELY_S) / LATELY_S

    def drop_node(self, node: str) -> None:
        """Forget all on a node."""
        self.sums = {holder: total for holder, total in self.sums.items() if holder[1] != node}
