"""Tasks of all sizes over eight unequal nodes: even, full, and never too full."""

import pytest
from capacity_scenes import balance

from fairlead.routing.catalog import BUILT_IN

pytestmark = pytest.mark.heavy

SLOTS_SHORT, TOKENS_SHORT = (700, 1.2), (300, 0.6)
"""Tokens for each slot, and arrivals as a share of what the slots alone could do: more than there is room for."""


def check(strategy: str, world: tuple[int, float], seconds: float) -> None:
    tokens_per_slot, share = world
    seen = balance(strategy, share, seconds, tokens_per_slot=tokens_per_slot)
    assert seen.waited_s > 0.9 * (seconds - 20.0), "else nothing is proved of a full fleet"
    assert seen.deviation < 0.10
    assert seen.load > 0.80
    assert seen.highest <= 1.0
    assert seen.lost == seen.left == 0


@pytest.mark.parametrize("world", [SLOTS_SHORT, TOKENS_SHORT], ids=["slots", "tokens"])
@pytest.mark.parametrize("strategy", ["hybrid", "least_loaded"])
def test_a_full_fleet_is_full_everywhere(strategy: str, world: tuple[int, float]) -> None:
    check(strategy, world, 40.0)


@pytest.mark.soak
@pytest.mark.parametrize("world", [SLOTS_SHORT, TOKENS_SHORT], ids=["slots", "tokens"])
@pytest.mark.parametrize("strategy", sorted(BUILT_IN))
def test_a_full_fleet_is_full_everywhere_for_long(strategy: str, world: tuple[int, float]) -> None:
    check(strategy, world, 300.0)
