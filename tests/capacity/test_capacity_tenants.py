"""Tenants share what there is not enough of, in tokens, and borrow what others leave."""

import pytest
from capacity_scenes import tenants

from fairlead.admission.config import QueueConfig

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_neither_gets_more_than_its_share_and_one_task(weight: float) -> None:
    seen = tenants(weight, 90.0)
    assert seen.beyond <= 1.0
    assert seen.share == pytest.approx(weight / (weight + 1.0), abs=0.02)
    assert seen.lent > 0.95
    assert seen.back_s < 1.0
    assert seen.longest_wait_s <= QueueConfig().max_wait_s.normal + 0.5


def test_waiting_long_is_no_way_to_get_more_than_a_share() -> None:
    """Tasks of the one with the smaller share wait longer; they gain nothing by it, however fast waiting counts."""
    seen = tenants(3.0, 90.0, queue=QueueConfig(ageing_s=5.0))
    assert seen.beyond <= 1.0
    assert seen.share == pytest.approx(0.75, abs=0.02)


@pytest.mark.soak
@pytest.mark.parametrize("weight", [1.0, 2.0, 3.0, 10.0])
def test_neither_gets_more_than_its_share_for_long(weight: float) -> None:
    seen = tenants(weight, 1800.0)
    assert seen.beyond <= 1.0
    assert seen.share == pytest.approx(weight / (weight + 1.0), abs=0.005)


@pytest.mark.soak
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_answers_longer_than_expected_shift_shares_by_a_part_of_a_task_only(weight: float) -> None:
    """What is being written counts as what is expected of it until it ends."""
    seen = tenants(weight, 1800.0, is_foreseen=False)
    assert seen.beyond <= 1.5
    assert seen.share == pytest.approx(weight / (weight + 1.0), abs=0.005)
