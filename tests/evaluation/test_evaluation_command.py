"""The command: what people and machines read, the picture, and that bad input ends in a sentence and exit code 2."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluation_shared import made_rows, write_jsonl

from fairlead.cli import COMMANDS, main
from fairlead.evaluation import needs
from fairlead.evaluation.sketch import sketch

PLACE = ("fairlead.cli.evaluate:evaluate", "Measure routing on your own table of outcomes.")


@pytest.fixture(autouse=True)
def _command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "evaluate", PLACE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("command") / "t.jsonl", made_rows(60, models=3))


def evaluate(*args: object) -> int:
    return main(["evaluate", *map(str, args)])


def test_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(file, "--draws", 20, "--robust") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("t.jsonl: 60 prompts, 3 models; 5 folds (grouped, 12 groups)")
    for word in ("ours", "random", "best single model", "length alone", "per-task table", "hull of single", "oracle"):
        assert word in out
    for word in ("APGR", "CPT(50)", "AIQ", "Brier", "politeness", "mean cost of a prompt", "●"):
        assert word in out


def test_for_machines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(file, "--draws", 20, "--json") == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(data["routers"]) == {"ours", "random", "best_single", "length", "task_table", "oracle"}
    for one in data["routers"].values():
        assert {"apgr", "cpt50", "cpt80", "aiq", "accuracy", "cost_usd", "intervals"} <= set(one)
    assert data["routers"]["best_single"]["apgr"] is None
    low, high = data["routers"]["ours"]["intervals"]["accuracy"]
    assert low <= data["routers"]["ours"]["accuracy"] <= high
    assert {"ece", "brier", "brier_skill"} <= set(data["calibration"])
    assert len(data["calibration"]["intervals"]["brier_skill"]) == 2


@pytest.mark.parametrize(("name", "head"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG")])
@pytest.mark.parametrize("more", [(), ("--by", "latency")])
def test_a_picture(tmp_path: Path, file: Path, name: str, head: bytes, more: tuple[str, ...]) -> None:
    assert evaluate(file, "--draws", 10, "--plot", tmp_path / name, *more) == 0
    assert (tmp_path / name).read_bytes().startswith(head)


def test_fit_and_test(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", made_rows(30, models=3, seed=5))
    assert evaluate("--fit", file, "--test", other, "--draws", 0) == 0
    assert "fitted on 60 prompts of t.jsonl, measured on other.jsonl" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [(), ("{file}", "--fit", "{file}"), ("--fit", "{file}"), ("{file}", "--fit", "{file}", "--test", "{file}"),
     ("{file}", "--folds", "1"), ("{file}", "--by", "colour"), ("{file}", "--seed", "-1")],
)  # fmt: skip
def test_usage(file: Path, args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*(arg.format(file=file) for arg in args)) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"prompt": "p", "model": "m0", "score": 2}, ":181: score: expected a number in [0, 1], not 2"),
        ({"prompt": "p", "model": "m0"}, ":181: score missing"),
        ({"prompt": "p", "model": "m0", "score": 1, "cost_usd": -1}, ":181: cost_usd: expected a number, 0 or more"),
        (
            {"prompt": "p", "model": "m0", "score": 1, "cost_usd": 1e308},
            ":181: cost_usd: expected a number up to 1e+300, not 1e+308",
        ),
    ],
)
def test_bad_rows(tmp_path: Path, line: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [*made_rows(60, models=3), line])
    assert evaluate(path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fairlead: {path}{said}")


def test_what_cannot_be_evaluated(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_jsonl(tmp_path / "plain.jsonl", made_rows(20, models=3, costs=False))
    (tmp_path / "empty.csv").write_text("")
    for args, said in (
        ((tmp_path / "none.jsonl",), "none.jsonl: cannot be read: no such file or directory"),
        ((tmp_path / "empty.csv",), "empty.csv: the table is empty"),
        ((file, "--folds", 13), "12 groups cannot fill 13 folds; use --folds 12 or fewer"),
        ((plain, "--by", "latency"), "latency_s is needed here, and fewer than two models have it"),
        ((plain, "--draws", 0, "--plot", tmp_path / "a.png"), "nothing to plot"),
        ((file, "--plot", tmp_path / "a.gif"), "must end in .svg or .png"),
        ((file, "--plot", tmp_path / "no" / "a.png"), "there is no folder"),
    ):
        assert evaluate(*args) == 2, args
        err = capsys.readouterr().err
        assert said in err
        assert err.startswith("fairlead: ")
        assert "Traceback" not in err


def test_a_missing_package_is_a_sentence(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package, args in (("numpy", (file,)), ("matplotlib", (file, "--plot", "a.png"))):
        with monkeypatch.context() as patch:
            found = importlib.util.find_spec
            patch.setattr(
                needs, "find_spec", lambda name, found=found, gone=package: None if name == gone else found(name)
            )
            assert evaluate(*args) == 2
        assert f"{package} is not installed; get it with: pip install 'fairlead[evaluate]'" in capsys.readouterr().err


def test_a_terminal_that_knows_few_characters(file: Path) -> None:
    code = (
        "import sys; from fairlead.cli import COMMANDS, main; "
        f"COMMANDS['evaluate'] = {PLACE!r}; sys.exit(main(['evaluate', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), "--draws", "0"],
        capture_output=True, check=False, timeout=60, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mean cost of a prompt" in done.stdout


@pytest.mark.parametrize("score", [0, 1, 0.5])
@pytest.mark.parametrize("cost", [0, 1])
def test_tables_without_a_difference(tmp_path: Path, score: float, cost: float) -> None:
    names = ("$\\frac$", "モデル\x1b[1m", "c")
    rows = [{"prompt": f"p{i}", "model": m, "score": score, "cost_usd": cost} for i in range(12) for m in names]
    path = write_jsonl(tmp_path / "t $x$.jsonl", rows)
    for ending in ("svg", "png"):
        assert evaluate(path, "--draws", 5, "--robust", "--plot", tmp_path / f"a.{ending}") == 0


def test_names_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"p{i}", "model": m, "score": i % 2} for i in range(12) for m in ("a\x1b[2J", "b\nc")]
    assert evaluate(write_jsonl(tmp_path / "t.jsonl", rows), "--draws", 5) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_help_says_what_the_router_sees(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--help") == 0
    assert "category and group are never shown to it" in " ".join(capsys.readouterr().out.split())


def test_a_sketch_keeps_its_width(file: Path, tmp_path: Path) -> None:
    from fairlead.evaluation.run import Settings, cross_validated
    from fairlead.evaluation.table import read_table

    lines = sketch(cross_validated(read_table(file), Settings(draws=0)), width=40, height=10)
    assert len(lines) == 14
    assert max(map(len, lines[:-1])) <= 50
