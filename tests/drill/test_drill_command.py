"""`fairlead drill`: what it runs, what it prints, and that nothing of the user's is touched."""

import asyncio
import io
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fairlead.cli import cli, main
from fairlead.cli.drill_card import show
from fairlead.drill import BUILT_IN, Score, Verdict, run_drill, scenes_of, shape_of
from fairlead.testing.answers import Continues, numbered
from fairlead.testing.faults import FAULTS
from fairlead.testing.provider import FakeProvider

SOME = ("rate_limited", "unavailable_forever", "gone", "silent", "cut", "malformed", "no_done", "content_filter")


def drill(*args: str) -> Result:
    return CliRunner().invoke(cli, ["drill", *args])


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


@pytest.fixture
def nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.cli.drill._found", lambda: None)


def test_with_others_that_are_well_answers_come_and_without_them_errors() -> None:
    shape = shape_of(BUILT_IN)
    heard: list[Score] = []
    scores = asyncio.run(run_drill(shape, scenes_of(shape, SOME), heard.append))
    assert sorted(map(repr, heard)) == sorted(map(repr, scores)), "each is told as it ends"
    assert Verdict.FAILED not in {score.verdict for score in scores}
    helped = {(score.fault, score.is_streamed): score for score in scores if not score.is_everyone}
    for name in ("rate_limited", "unavailable_forever", "gone", "cut", "malformed"):
        assert helped[name, False].verdict is Verdict.RESCUED
        assert (helped[name, False].how, helped[name, False].attempts) == ("failover", 2)
    assert helped["cut", True].how == "spliced"
    assert helped["silent", True].verdict is Verdict.RESCUED
    assert helped["silent", False].how == "504", "only the total limit ends that wait"
    assert helped["content_filter", True].attempts == 1
    alone = {(score.fault, score.is_streamed): score.how for score in scores if score.is_everyone}
    assert alone["unavailable_forever", True] == "503"
    assert alone["cut", True] == "error event"
    assert alone["no_done", True] == "answered"


def test_nothing_of_the_users_is_contacted(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as real:
            file = tmp_path / "fleet.yaml"
            file.write_text(f"nodes: [{{name: mine, url: '{real.url}', models: [m], api_key: secret}}]\n")
            result = await asyncio.to_thread(drill, "-c", str(file), "--json", *only("silent", "cut"))
            told = json.loads(result.stdout)
            assert result.exit_code == 0
            assert told["fleet"] == {"of": str(file), "model": "m", "nodes": ["mine"]}
            assert real.accepted == 0

    asyncio.run(main())


def test_json_for_programs(nothing_found: None) -> None:
    result = drill("--json", *only("error_once"))
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    counts = Counter(score["verdict"] for score in told["scores"])
    assert told["summary"] == {name: counts[name] for name in ("rescued", "clean error", "failed")}
    first = told["scores"][0]
    assert (first["fault"], first["is_streamed"], first["verdict"], first["how"]) == (
        "error_once", True, "rescued", "failover",
    )  # fmt: skip


def test_a_failure_is_the_exit_code(nothing_found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = _score(Verdict.FAILED, "silent end")
    monkeypatch.setattr("fairlead.cli.drill._run", lambda shape, names: [failed])
    result = drill(*only("cut"))
    assert result.exit_code == 1
    assert "silent end" in result.stdout
    assert "fairlead drill --only cut" in result.stdout


def test_the_list_and_a_name_that_is_not_on_it() -> None:
    listed = drill("--list")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(FAULTS)
    wrong = drill("--only", "stal")
    assert wrong.exit_code == 2
    assert "did you mean 'stall'?" in wrong.output


@pytest.mark.parametrize("columns", [80, 120])
def test_the_card_fits_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr("fairlead.cli.drill_card.console", lambda: out)
    verdicts = ((Verdict.RESCUED, "continued"), (Verdict.CLEAN, "error event"), (Verdict.FAILED, "wrong answer"))
    show(shape_of(BUILT_IN), "a file", [_score(*one, name=name) for name in FAULTS for one in verdicts])
    file: Any = out.file
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    body = [line for line in lines if "✗" in line and "failed" not in line]
    assert len(body) == len(FAULTS), "one line for each"
    assert any("a wider terminal shows" in line for line in lines) is (columns == 80)


def test_one_node_is_told_what_it_cannot_survive(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("nodes: [{name: mine, url: 'http://127.0.0.1:9/v1', models: [m]}]\n")
    shown = drill("-c", str(file), *only("cut", "no_done")).stdout
    assert "The only node misbehaves" in shown
    assert "nobody can answer instead: 1 of 2 faults cannot be survived" in shown
    assert "A second node that serves m survives 1 of them." in shown


def test_a_shape_that_cannot_be_built_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("strategy: hybird\nnodes: [{name: mine, url: 'http://127.0.0.1:9/v1', models: [m]}]\n")
    assert main(["drill", "-c", str(file), *only("cut")]) == 2
    assert "unknown routing strategy 'hybird'" in capsys.readouterr().err


def test_it_can_be_interrupted(nothing_found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("fairlead.drill.run._how", interrupt)
    assert main(["drill", *only("error_once", "endless")]) == 130


class TestOfARealNode:
    def probe(self, tmp_path: Path, *args: str, **more: Any) -> tuple[Result, int]:
        async def main() -> tuple[Result, int]:
            async with FakeProvider(says=numbered(24), **more) as real:
                file = tmp_path / "fleet.yaml"
                file.write_text(f"nodes: [{{name: mine, url: '{real.url}', models: [m]}}]\n")
                result = await asyncio.to_thread(drill, "-c", str(file), "--node", "mine", *args)
                return result, real.attempts

        return asyncio.run(main())

    def test_it_is_said_beforehand_what_is_asked_and_afterwards_what_to_write(self, tmp_path: Path) -> None:
        result, attempts = self.probe(tmp_path, continues=Continues.TRAILING)
        assert result.exit_code == 0, result.output
        before = next(line for line in result.stderr.splitlines() if line.startswith("Asking mine"))
        most = int(before.partition(": ")[2].split()[0])
        assert 0 < attempts <= most + 1
        assert "continuation: trailing" in result.stdout

    def test_a_node_that_begins_anew(self, tmp_path: Path) -> None:
        result, _ = self.probe(tmp_path, "--json")
        told = json.loads(result.stdout)
        assert (told["node"], told["model"], told["line"]) == ("mine", "m", "continuation: none")

    def test_a_node_that_is_not_there(self, tmp_path: Path) -> None:
        file = tmp_path / "fleet.yaml"
        file.write_text("nodes: [{name: mine, url: 'http://127.0.0.1:9/v1', models: [m]}]\n")
        assert drill("-c", str(file), "--node", "mine").exit_code == 1
        wrong = drill("-c", str(file), "--node", "other")
        assert "no node is called 'other'; there are: mine" in str(wrong.exception)


def _score(verdict: Verdict, how: str, *, name: str = "cut") -> Score:
    return Score(
        fault=name, does=FAULTS[name].does, is_streamed=verdict is not Verdict.RESCUED, is_everyone=False,
        verdict=verdict, how=how, first_s=0.012, total_s=12.3456, attempts=3,
    )  # fmt: skip
