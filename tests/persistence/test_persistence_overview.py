"""What the log says of a model: each task once, each judgement as it stands now, nobody's fault as nobody's."""

from pathlib import Path
from typing import Any

import pytest
from persistence_shared import NOW_S, opened, row

from fairlead.cli.state import _model_row
from fairlead.errors import Fault
from fairlead.persistence.intake import Intake
from fairlead.persistence.overview import ModelSeen, Overview, overview
from fairlead.persistence.rows import FeedbackRow
from fairlead.persistence.store import StateStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def judge(store: StateStore, name: str, score: float, **more: Any) -> None:
    """Add a decision again, as the recorder does when somebody judged it."""
    store.add_decision(row(name, is_special=True, is_again=True, cost_usd=0.5, **more))
    store.add_feedback(FeedbackRow(decision_id=name, at_s=NOW_S, score=score))


def counts(seen: Overview) -> tuple[int, int, int]:
    return seen.decisions, seen.counted, seen.feedback


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_task_that_was_only_counted_and_then_judged_is_one_task(path: Path, is_flushed: bool) -> None:
    with opened(path, decisions_per_s=0.0) as store:
        for number in range(4):
            store.add_decision(row(f"d{number}", cost_usd=0.5, input_tokens=3))
        assert not is_flushed or store.flush()
        for number in range(3):
            judge(store, f"d{number}", 1.0, input_tokens=3)
        assert store.flush()
        judge(store, "d0", 0.5, input_tokens=3)
    seen = overview(path)
    assert counts(seen) == (3, 1, 3)
    (model,) = seen.models
    assert model.tasks == 4
    assert model.cost_usd == pytest.approx(2.0)


def test_a_kind_of_which_all_were_judged_leaves_no_tally(path: Path) -> None:
    with opened(path, decisions_per_s=0.0) as store:
        for rounds in range(2):
            store.add_decision(row(f"d{rounds}", cost_usd=0.5))
            assert rounds or store.flush()
            judge(store, f"d{rounds}", 1.0)
    seen = overview(path)
    assert counts(seen) == (2, 0, 2)
    assert [(one.tasks, one.cost_usd) for one in seen.models] == [(2, 1.0)]


def test_a_decision_that_no_longer_fits_the_queue_stays_counted_once() -> None:
    intake = Intake(0.0, max_rows=0)
    intake.add_decision(row("d"))
    for _ in range(2):
        intake.add_decision(row("d", is_special=True, is_again=True))
    assert [value[0] for _, value in intake.tallies] == [1]
    assert intake.dropped == 2


def test_what_was_counted_is_remembered_within_bounds() -> None:
    intake = Intake(0.0)
    for number in range(20_000):
        intake.add_decision(row(f"d{number}"))
    assert len(intake._only_counted) <= 4096
    intake.add_decision(row("d19999", is_special=True, is_again=True))
    assert intake.tallies[-1][1][0] == -1


def test_only_the_newest_score_of_a_decision_counts(path: Path) -> None:
    with opened(path) as store:
        store.add_decision(row("a"))
        store.add_decision(row("b"))
        for score in (0.2, 0.9, 0.2):
            store.add_feedback(FeedbackRow(decision_id="a", at_s=NOW_S, score=score))
        store.add_feedback(FeedbackRow(decision_id="b", at_s=NOW_S, score=0.6))
    seen = overview(path)
    assert seen.feedback == 2
    (model,) = seen.models
    assert model.judged == 2
    assert model.score == pytest.approx(0.4)


@pytest.mark.parametrize("rate", [100.0, 0.0])
def test_a_caller_who_hangs_up_says_nothing_of_the_model(path: Path, rate: float) -> None:
    with opened(path, decisions_per_s=rate) as store:
        for number in range(2):
            store.add_decision(row(f"good {number}"))
        store.add_decision(row("bad", outcome=Fault.TIMEOUT.value))
        for number in range(7):
            store.add_decision(row(f"gone {number}", outcome=Fault.CANCELLED.value))
    (model,) = overview(path).models
    assert (model.tasks, model.succeeded, model.cancelled) == (10, 2, 7)
    assert _model_row(model)[1:3] == ("10", "66.7%")


def test_of_a_model_whose_callers_all_hung_up_there_is_no_share() -> None:
    assert _model_row(ModelSeen("m", 3, 0, 0.0, 0.0, cancelled=3))[1:3] == ("3", "-")
