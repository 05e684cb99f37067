"""Whole evaluations on made tables: what may be seen, what must come out, and that it is the same again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from evaluation_shared import made_rows, made_table, write_jsonl

from fairlead.capability.labels import Label
from fairlead.capability.scorer import CapabilityScorer, Estimate
from fairlead.domain.features import PromptFeatures
from fairlead.domain.task import TaskCategory
from fairlead.evaluation.report import Report
from fairlead.evaluation.rows import TableError
from fairlead.evaluation.run import Settings, cross_validated, fitted_and_tested
from fairlead.evaluation.table import Table, read_table

pytestmark = pytest.mark.heavy

QUICK = Settings(draws=20)
ROUTERS = {"ours", "random", "best_single", "length", "task_table", "oracle"}


class Means(CapabilityScorer):
    """Expects of every model its mean on what it was fitted on."""

    def fit(self, labels: Sequence[Label], now_s: float = 0.0) -> None:
        scores: dict[str, list[float]] = {}
        for label in labels:
            scores.setdefault(label.model, []).append(label.score)
        self.means = {model: sum(found) / len(found) for model, found in scores.items()}

    def estimate(
        self, model_name: str, category: TaskCategory, features: PromptFeatures | None, now_s: float
    ) -> Estimate:
        return Estimate(self.means[model_name], 1.0, self.means[model_name], 1.0, None)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return read_table(write_jsonl(tmp_path_factory.mktemp("run") / "t.jsonl", made_rows(240)))


@pytest.fixture(scope="module")
def report(table: Table) -> Report:
    return cross_validated(table, replace(QUICK, robust=True))


def test_every_router_has_its_figures(report: Report) -> None:
    assert set(report.routers) == ROUTERS
    for name, one in report.routers.items():
        assert one.accuracy is not None
        assert one.cost_usd is not None
        assert (one.apgr is None) == (name == "best_single")
        assert (one.aiq is None) == (name == "best_single")
    assert report.hull.aiq is not None
    assert report.prompts == 240


def test_what_the_prompt_says_is_used(report: Report) -> None:
    ours, length = report.routers["ours"], report.routers["length"]
    assert ours.apgr is not None
    assert length.apgr is not None
    assert ours.apgr > 0.6
    assert ours.apgr > length.apgr
    low = report.differences["ours_minus_length.apgr"].interval
    assert low is not None
    assert low[0] > 0
    assert report.differences["ours_minus_hull.aiq"].value > 0.02  # type: ignore[operator]
    assert report.calibration.brier_skill is not None
    assert report.calibration.brier_skill > 0.1


def test_nobody_beats_the_oracle(report: Report) -> None:
    oracle = report.routers["oracle"]
    for name in ROUTERS - {"oracle"}:
        assert report.routers[name].accuracy <= oracle.accuracy  # type: ignore[operator]
        for key in ("apgr", "aiq"):
            figure = getattr(report.routers[name], key)
            assert figure is None or figure <= getattr(oracle, key) + 1e-12


def test_labels_of_the_file_are_no_inputs_of_ours(table: Table) -> None:
    names = tuple("abc"[i % 3] for i in range(len(table.prompts)))
    nothing = (None,) * len(table.prompts)
    plain = cross_validated(replace(table, category=nothing, group=nothing), QUICK)
    labelled = cross_validated(replace(table, category=names, group=nothing), QUICK)
    assert labelled.routers["ours"] == plain.routers["ours"]
    assert labelled.curves["ours"] == plain.curves["ours"]
    assert plain.routers["task_table"].accuracy is None
    assert labelled.routers["task_table"].accuracy is not None


def test_no_score_and_no_cost_of_a_measured_row_is_seen() -> None:
    """Turning a measured row's own outcome round moves no choice: every curve's cost stays as it was."""
    rng = np.random.default_rng(3)
    fit, test = rng.random((60, 3)), rng.random((40, 3))
    cost = rng.random((60, 3)) + np.arange(3)
    flat = np.ones((40, 3)) * np.arange(1.0, 4.0)
    fitted = made_table(fit, cost, tuple(f"some prompt {i} of {i * 7}" for i in range(60)), "fit")
    runs = [
        fitted_and_tested(fitted, made_table(score, flat, tuple(f"a question {i}" for i in range(40))), QUICK)
        for score in (test, 1.0 - test)
    ]
    for name in ("ours", "length"):
        assert runs[0].curves[name].cost == runs[1].curves[name].cost
        assert runs[0].routers[name].cost_usd == runs[1].routers[name].cost_usd


def test_the_same_seed_says_the_same(table: Table, report: Report) -> None:
    again = cross_validated(table, replace(QUICK, robust=True))
    assert msgspec.json.encode(again) == msgspec.json.encode(report)
    assert cross_validated(table, replace(QUICK, seed=1)).routers["ours"] != report.routers["ours"]


def test_a_router_that_knows_no_prompt_is_no_better_than_chance() -> None:
    score = np.random.default_rng(0).random((400, 2)) < np.array([0.5, 0.8])
    found = [
        cross_validated(made_table(score.astype(float)), Settings(draws=0, seed=seed), make_scorer=Means)
        .routers["ours"]
        .apgr
        for seed in range(12)
    ]
    assert np.mean([one for one in found if one is not None]) == pytest.approx(0.5, abs=0.06)


def test_prompts_of_both_files_are_not_fitted_on(table: Table) -> None:
    kept = list(range(len(table.prompts)))
    report = fitted_and_tested(table.take(kept), table.take(kept[:40]), QUICK)
    assert report.prompts == 40
    assert report.design.startswith("fitted on 200 prompts")
    assert any("40 prompts of" in note for note in report.notes)
    assert report.operating_points == []


def test_nothing_left_to_fit_on_is_an_error(table: Table) -> None:
    with pytest.raises(TableError, match="nothing is left to fit on: all its prompts stand in "):
        fitted_and_tested(table.take(range(20)), table, QUICK)


def test_folds_of_one_kind_are_noted() -> None:
    """Ranked within a fold of one kind, even a table that knows the better model of each kind looks like chance."""
    n = 80
    kind = np.arange(n) % 2
    made = made_table(np.eye(2)[kind])
    kinds = tuple("ab"[i] for i in kind)
    apart = replace(made, category=kinds, group=tuple(f"g{i % 4}" for i in range(n)))
    report = cross_validated(apart, replace(QUICK, folds=4))
    assert report.routers["task_table"].accuracy == 1.0
    assert report.routers["task_table"].apgr != 1.0
    of_category, of_group = report.notes
    ranked = "prompts are ranked within their fold, so "
    assert of_category == (
        f"in 4 of 4 folds all prompts are of one category; {ranked}there the per-task table orders by chance alone"
    )
    assert of_group.startswith(f"in 4 of 4 folds all prompts are of one group; {ranked}APGR and CPT weigh no ")
    mixed = replace(apart, group=tuple(f"g{i // 2}" for i in range(n)))
    assert cross_validated(mixed, replace(QUICK, folds=4)).notes == []
    unlabelled = cross_validated(replace(apart, category=(None,) * n), replace(QUICK, folds=4))
    assert all("in 4 of 4 folds all prompts are of one group; " in note for note in unlabelled.notes)
    assert len(unlabelled.notes) == 2


def test_two_models_without_prices_pay_in_strong_calls(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", made_rows(80, costs=False, labels=False))
    report = cross_validated(read_table(path), QUICK)
    assert report.axis == "strong_calls"
    assert report.routers["ours"].aiq is None
    assert report.routers["ours"].cost_usd is None
    assert report.curves["ours"].cost[0] == 0.0
    assert report.curves["ours"].cost[-1] == 1.0
    assert report.routers["task_table"].apgr is None


def test_several_models_without_prices_have_orders_and_no_curves(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", made_rows(60, models=4, costs=False))
    report = cross_validated(read_table(path), QUICK)
    assert (report.axis, report.curves, report.band) == ("none", {}, None)
    assert report.routers["ours"].apgr is not None
    assert report.routers["oracle"].accuracy is not None


def test_several_models_along_cost_and_latency(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", made_rows(90, models=4))
    by_cost = cross_validated(read_table(path), QUICK)
    by_latency = cross_validated(read_table(path, "latency_s"), replace(QUICK, axis="latency_s"))
    for one, axis in ((by_cost, "cost_usd"), (by_latency, "latency_s")):
        assert one.axis == axis
        assert one.routers["ours"].aiq is not None
        assert {point.router for point in one.operating_points} == {"ours", "length", "task_table", "single"}
        assert one.weak == "m0"
    assert by_cost.curves["ours"].cost != by_latency.curves["ours"].cost


def test_equal_scores_leave_figures_undefined_and_break_nothing() -> None:
    report = cross_validated(made_table(np.ones((20, 3)), np.ones((20, 3))), QUICK)
    assert report.routers["ours"].apgr is None
    assert report.routers["ours"].aiq is None
    assert report.routers["ours"].accuracy == 1.0
    free = cross_validated(made_table(np.eye(20)[:, :2], np.zeros((20, 2))), QUICK)
    assert free.routers["ours"].accuracy is not None
    assert {free.strong, free.weak} == {"m0", "m1"}


def test_other_words_flip_few_decisions(report: Report) -> None:
    assert {one.rule for one in report.robustness} == {"case", "whitespace", "politeness", "order"}
    for one in report.robustness:
        assert 0.0 <= one.best_quality <= 1.0
        assert one.changed_prompts > 0.5 or one.rule == "order"
    assert all(one.half_way < 0.35 for one in report.robustness if one.rule in {"case", "whitespace"})
