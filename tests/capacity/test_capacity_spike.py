"""Ten times as many tasks as usual for a minute: nobody urgent is lost, and what is promised to others is kept."""

import pytest
from capacity_scenes import Spike, spike

pytestmark = pytest.mark.heavy


def check(seen: Spike) -> None:
    assert seen.interactive_lost == 0
    assert seen.refused > 0.2 * seen.tasks, "else it was no spike"
    assert seen.right >= 0.9
    assert seen.admitted >= 0.9
    assert seen.after_s <= 1.5 * seen.before_s
    assert seen.urgent_after_s <= 1.5 * seen.urgent_before_s


def test_a_tenfold_spike() -> None:
    check(spike((8, 8, 16, 16), 180.0, 420.0, seed=8))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_tenfold_spike_on_a_large_fleet(seed: int) -> None:
    check(spike((4, 8, 8, 16, 16, 32, 48, 64), 300.0, 1200.0, seed))
