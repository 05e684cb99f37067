"""How many slots are needed so that few tasks wait long: the theory of queues with many servers.

Tasks come at rate L and hold a slot for S seconds on average, so they bring a = L S Erlangs of work. With n > a slots
the chance that a task has to wait is Erlang's C (A. K. Erlang, 1917), and those who wait do so for an exponential time:

    P(wait > t) = C(n, a) exp(-(n - a) t / (S v)),   v = (ca2 + cs2) / 2

Here ca2 and cs2 are the squared coefficients of variation of the gaps between arrivals and of the service time; v = 1
for the M/M/n queue, and the factor for others is that of Allen and Cunneen (A. O. Allen: "Probability, Statistics, and
Queueing Theory", 1990; W. Whitt: "Approximations for the GI/G/m queue", 1993). Beyond `EXACT_ERLANGS` the chance to
wait is that of Halfin and Whitt ("Heavy-traffic limits for queues with many exponential servers", 1981), the root of
square-root staffing: n = a + b sqrt(a). There, with a chance of 1 %, it is a twentieth of its value below Erlang's C:
less than one slot in a thousand.
"""

from math import ceil, erf, exp, inf, isfinite, pi, sqrt

EXACT_ERLANGS = 5_000.0


def wait_probability(erlangs: float, slots: int) -> float:
    """Return the chance that a task finds every slot taken: Erlang's C; 1 where the slots are too few for the work.

    C = B / (1 - (a/n) (1 - B)) with Erlang's B from its recursion, which stays within [0, 1] for any number of slots.
    """
    if erlangs <= 0:
        return 0.0
    if slots <= erlangs:
        return 1.0
    if erlangs > EXACT_ERLANGS:
        return _halfin_whitt(erlangs, slots)
    return _delayed(_blocking(erlangs, 0, 1.0, slots), erlangs, slots)


def wait_tail(erlangs: float, slots: int, wait_s: float, service_s: float, variability: float = 1.0) -> float:
    """Return the share of tasks that wait longer than `wait_s`."""
    return wait_probability(erlangs, slots) * _patience(erlangs, slots, wait_s, service_s, variability)


def slots_needed(
    rate: float, service_s: float, *, wait_target_s: float, wait_share: float, variability: float = 1.0
) -> int:
    """Return the fewest slots with which `wait_share` of the tasks wait at most `wait_target_s`.

    `rate` is in tasks per second, `service_s` the mean time that a task holds its slot, `variability` the v above.
    Raises ValueError for a negative or endless rate, times that are not positive, or a share outside (0, 1).
    """
    if not (0 <= rate < inf and 0 < service_s < inf and wait_target_s >= 0 and 0 < wait_share < 1):
        raise ValueError(
            f"rate={rate}, service_s={service_s}, wait_target_s={wait_target_s}, wait_share={wait_share}: the rate is "
            "not negative, times are positive, and the share lies between 0 and 1"
        )
    if not (isfinite(variability) and variability > 0):
        raise ValueError(f"variability is {variability}: it must be a positive number")
    erlangs = rate * service_s
    if erlangs <= 0:
        return 0
    slots = int(erlangs) + 1
    allowed = 1.0 - wait_share
    if erlangs > EXACT_ERLANGS:
        return _bisected(erlangs, slots, allowed, (wait_target_s, service_s, variability))
    blocking = _blocking(erlangs, 0, 1.0, slots)
    times = (wait_target_s, service_s, variability)
    while _delayed(blocking, erlangs, slots) * _patience(erlangs, slots, *times) > allowed:
        slots += 1
        blocking = _blocking(erlangs, slots - 1, blocking, slots)
    return slots


def _bisected(erlangs: float, low: int, allowed: float, times: tuple[float, float, float]) -> int:
    """Return the fewest slots from `low` on whose tail is small enough; ten standard deviations always are."""
    high = low + ceil(10 * sqrt(erlangs))
    while low < high:
        middle = (low + high) // 2
        if wait_tail(erlangs, middle, *times) > allowed:
            low = middle + 1
        else:
            high = middle
    return low


def _blocking(erlangs: float, slots: int, blocking: float, until: int) -> float:
    """Return Erlang's B for `until` slots, given that for `slots`: B(n) = a B(n-1) / (n + a B(n-1))."""
    for n in range(slots + 1, until + 1):
        carried = erlangs * blocking
        blocking = carried / (n + carried)
    return blocking


def _delayed(blocking: float, erlangs: float, slots: int) -> float:
    return blocking / (1.0 - erlangs / slots * (1.0 - blocking))


def _patience(erlangs: float, slots: int, wait_s: float, service_s: float, variability: float) -> float:
    """Return the share of those who wait that wait longer than this."""
    return exp(-(slots - erlangs) * wait_s / (service_s * variability)) if slots > erlangs else 1.0


def _halfin_whitt(erlangs: float, slots: int) -> float:
    spare = (slots - erlangs) / sqrt(erlangs)
    below = (1.0 + erf(spare / sqrt(2.0))) / 2.0
    density = exp(-spare * spare / 2.0) / sqrt(2.0 * pi)
    return density / (density + spare * below)
