"""How hard things are for a fleet, as one number in [0, 1]: what the ladder of degradation goes by.

    pressure = u^(4 c) x (1 - 0.22 c)

where c is the share of the fleet's weight that may still be given tasks and u the share of that which is leased, its
mean over the last `SMOOTH_S` or so. It rises with u and as c falls, and is

    0      with nothing leased, however much is lost: lost room that nobody wants is no reason to give anything up
    0.78   for a whole fleet that is full: others may wait, nobody need be turned away
    0.47   with a third lost and 0.8 of the rest leased, where the whole fleet is at 0.32; 0.85 with the rest full
    1      with nothing left

The exponent makes it small as long as there is room: a whole fleet reaches 0.5 at 0.9 of its capacity.
"""

import math
from collections.abc import Mapping

import msgspec

STEEPNESS = 4.0
HEADROOM = 0.22
"""Pressure that a full fleet is below 1 for as long as nothing is lost."""
SMOOTH_S = 5.0
"""After this long a former utilization counts 1/e."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet's owner sees of one node."""

    is_open: bool = False
    """Its circuit is."""
    is_draining: bool = False
    utilization: float = 0.0
    """Leased share of what it has, in [0, 1]."""
    weight: float = 1.0
    is_sole: bool = False
    """One of its models is served by nobody else who could be asked: each of the others has an open circuit, is
    draining, or is found unreachable (`HealthMonitor.fails_checks`). Whether they are left out as outliers must not
    matter here, since that depends on this in turn."""


NOTHING_SEEN = Seen()


def pressure_of(utilization: float, capacity_share: float) -> float:
    """Return the pressure."""
    return math.pow(utilization, STEEPNESS * capacity_share) * (1.0 - HEADROOM * capacity_share)


class Tide:
    """The utilization of what is left of a fleet, smoothed, and the share that is left."""

    def __init__(self) -> None:
        self.utilization = 0.0
        self.capacity_share = 1.0
        self._at_s: float | None = None

    def observe(self, left: Mapping[str, Seen], all_of: Mapping[str, Seen], now_s: float) -> None:
        """Take in who is left of whom. A node's utilization counts by its weight."""
        left_weight = sum(one.weight for one in left.values())
        weight = sum(one.weight for one in all_of.values())
        leased = sum(one.weight * min(max(one.utilization, 0.0), 1.0) for one in left.values())
        self.capacity_share = left_weight / weight if weight > 0.0 else 1.0
        utilization = leased / left_weight if left_weight > 0.0 else 0.0
        news = 1.0 if self._at_s is None else 1.0 - math.exp(min(self._at_s - now_s, 0.0) / SMOOTH_S)
        self.utilization += news * (utilization - self.utilization)
        self._at_s = now_s
