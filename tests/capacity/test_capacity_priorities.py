"""Interactive tasks stay as fast as they are alone, while batch takes the rest of the fleet."""

import pytest
from capacity_scenes import beside

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(
    ("slots", "batch"),
    [((16,) * 4, 0.8), ((4, 8, 16, 32), 0.8), ((2,) * 24, 0.5), ((1,) * 32, 0.7)],
    ids=["even", "unequal", "few", "single"],
)
def test_interactive_work_does_not_feel_the_batch(slots: tuple[int, ...], batch: float) -> None:
    """Batch may take as many whole slots of each node, and of all, as stay below 80 %: of two slots that is one."""
    seen = beside(slots, 300.0)
    assert seen.ratio <= 1.1
    assert seen.lost == 0
    assert seen.interactive_share + seen.batch_share > 0.9 * batch


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_interactive_work_does_not_feel_the_batch_for_long(seed: int) -> None:
    seen = beside((4, 8, 16, 32), 3600.0, seed=seed)
    assert seen.ratio <= 1.1
    assert seen.lost == 0
