"""Time is an argument; this file alone reads the machine's clocks."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives seconds. Whatever decides takes `now_s` as an argument and never one of these."""

monotonic_s: Clock = time.monotonic
"""Seconds that never run backwards; the zero is arbitrary."""

_EPOCH_S = time.time() - time.monotonic()


def steady_s() -> float:
    """Seconds that never run backwards, counted from 1970 as the wall clock stood when this process began.

    So the times in what was learnt mean the same after a restart.
    """
    return _EPOCH_S + monotonic_s()


wall_s: Clock = time.time
"""Seconds since 1970, for records and for what people read."""
