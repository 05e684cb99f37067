"""The public data sets, where they stand beside the checkout: what is known of them comes out of our tables."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fairlead.evaluation.report import Report
from fairlead.evaluation.run import Settings, cross_validated
from fairlead.evaluation.table import Table, read_table

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout"),
]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.append(str(ROOT / "bench"))
    try:
        return importlib.import_module("evaluation")
    finally:
        sys.path.remove(str(ROOT / "bench"))


def table(bench: ModuleType, name: str, folder: Path) -> Table:
    source = next(one for one in bench.SOURCES if one.folder == name)
    return read_table(bench.write_tables(source, DATA, folder)["random"], source.axis)


def test_the_best_single_model_on_issues(bench: ModuleType, tmp_path: Path) -> None:
    found = table(bench, "swebench_verified", tmp_path)
    assert found.score.shape == (199, 19)
    best = int(found.score.mean(axis=0).argmax())
    assert found.score[:, best].mean() == pytest.approx(0.729, abs=5e-4)
    assert found.cost_usd is not None
    assert found.cost_usd[:, best].mean() == pytest.approx(0.727, abs=5e-4)


@pytest.fixture(scope="module")
def report(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Report:
    found = table(bench, "routellm", tmp_path_factory.mktemp("routellm"))
    assert found.score.shape == (1917, 2)
    return cross_validated(found, Settings(draws=100))


def test_questions_are_routed_better_than_by_length_or_chance(report: Report) -> None:
    ours, length, random = (report.routers[name] for name in ("ours", "length", "random"))
    assert ours.apgr is not None
    assert length.apgr is not None
    assert random.apgr == pytest.approx(0.5, abs=0.01)
    assert 0.55 < length.apgr < 0.60
    assert ours.apgr > length.apgr


def test_pages_of_results_are_whole(bench: ModuleType, report: Report, tmp_path: Path) -> None:
    tables = sys.modules["evaluation_tables"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nof yesterday\n{tables.END}\nafter\n")
    tables.update(page, {("routellm", "random"): report})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    assert f"{report.routers['ours'].apgr:.3f}" in text
    rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert np.array(rows).min() > 5
