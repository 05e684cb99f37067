"""Virtual time: callbacks in the order of their times, as fast as the machine can run them.

Equal times are served in the order in which they were asked for, so a simulation is the same every time it is run.
"""

import heapq
from collections.abc import Callable


class VirtualTime:
    """A heap of callbacks and a clock that jumps from one to the next; callable as a `fairlead.clock.Clock`."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now_s

    def __len__(self) -> int:
        """Return how many callbacks are still to come."""
        return len(self._heap)

    def at(self, at_s: float, callback: Callable[[], None]) -> None:
        """Run `callback` at that time. Raises ValueError for a time that is over, or not a number."""
        if not at_s >= self.now_s:
            raise ValueError(f"{at_s!r} s is over: it is {self.now_s} s already")
        self._asked += 1
        heapq.heappush(self._heap, (at_s, self._asked, callback))

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Run `callback` in `delay_s` seconds."""
        self.at(self.now_s + delay_s, callback)

    def run_until(self, until_s: float, max_steps: int = 1_000_000) -> int:
        """Run what is due up to and including `until_s`, leave the clock there, and return how many callbacks ran.

        Raises RuntimeError past `max_steps`, with the clock where the run stopped.
        """
        steps = 0
        while self._heap and self._heap[0][0] <= until_s:
            if steps >= max_steps:
                raise RuntimeError(
                    f"no end after {max_steps} steps, at {self.now_s} s: raise max_steps or find the loop"
                )
            self.now_s, _, callback = heapq.heappop(self._heap)
            callback()
            steps += 1
        if until_s != float("inf"):
            self.now_s = max(self.now_s, until_s)
        return steps

    def run(self, max_steps: int = 1_000_000) -> int:
        """Run until nothing is left to do, and return how many callbacks ran. Raises RuntimeError past `max_steps`."""
        return self.run_until(float("inf"), max_steps)
