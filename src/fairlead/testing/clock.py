"""A clock that stands still until it is told to move."""


class ManualClock:
    """A `fairlead.clock.Clock` for tests: call it for the time, `advance` it by hand."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now_s

    def advance(self, by_s: float) -> None:
        """Let `by_s` seconds go by. Raises ValueError for a step backwards."""
        if not by_s >= 0:
            raise ValueError(f"time does not run backwards: {by_s!r} s")
        self.now_s += by_s
