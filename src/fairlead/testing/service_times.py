"""How fast a simulated model server reads prompts and writes answers."""

from bisect import bisect_right

import msgspec


class ServiceTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Speeds of one server. Prompts are read one after another; answers are written side by side, one token a step.

    The defaults are about what a model of 70 billion parameters does on eight H100 cards (Patel et al., "Splitwise:
    efficient generative LLM inference using phase splitting", ISCA 2024).
    """

    prefill_tokens_per_s: float = 11_000.0
    step_s: tuple[tuple[int, float], ...] = ((1, 0.030), (16, 0.034), (64, 0.050))
    """What one step takes with so many answers being written; in between and beyond it is interpolated."""

    def __post_init__(self) -> None:
        """Raise ValueError for speeds that cannot be."""
        if not self.prefill_tokens_per_s > 0 or not self.step_s or any(not seconds > 0 for _, seconds in self.step_s):
            raise ValueError(f"a server needs times above 0, not {self}")

    def prefill_s(self, tokens: int) -> float:
        """Return how long reading a prompt takes; the first token of the answer comes with it."""
        return tokens / self.prefill_tokens_per_s + self.step_at(1)

    def step_at(self, running: int) -> float:
        """Return what a step takes while so many answers are written."""
        points = self.step_s
        if len(points) == 1 or running <= points[0][0]:
            return points[0][1]
        after = min(bisect_right(points, running, key=lambda point: point[0]), len(points) - 1)
        (fewer, low_s), (more, high_s) = points[after - 1], points[after]
        return low_s + (high_s - low_s) * (running - fewer) / (more - fewer)
