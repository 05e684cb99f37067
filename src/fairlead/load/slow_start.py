"""Slow start: a node that joins or recovers gets its share little by little, while its caches and its model warm up.

The share grows in a straight line from a tenth: Envoy's slow start with its defaults, aggression 1 and a least weight
of 10 % (envoyproxy.io, "Slow start mode").
"""

LEAST_WARMTH = 0.1
"""Share at the very beginning: without any traffic nothing would warm up."""


def warmth(since_s: float, now_s: float, window_s: float) -> float:
    """Return the share in (0, 1] of its usual load that a node may get, `window_s` seconds being all it needs."""
    if not window_s > 0.0:
        return 1.0
    return min(max((now_s - since_s) / window_s, LEAST_WARMTH), 1.0)
