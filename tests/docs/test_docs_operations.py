"""What the pages for operators list is what the program has: faults, metrics, events, messages, steps, units."""

import ast
import asyncio
import configparser
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from docs_shared import ROOT, Block, blocks, make_targets, tables

from fairlead.cli import COMMANDS
from fairlead.config import loads
from fairlead.dialects.continued_relay import RescueMode
from fairlead.domain.health import Verdict
from fairlead.domain.rescue import Rescue
from fairlead.gateway import RunningGateway
from fairlead.health import Ladder
from fairlead.orchestrator.attempt import DEADLINE_SLACK_S
from fairlead.orchestrator.timeouts import TICK_S
from fairlead.persistence.rows import StoreCounters
from fairlead.routing.filters import Reason
from fairlead.telemetry.event_words import KINDS
from fairlead.telemetry.prometheus import _Collector
from fairlead.testing.faults import FAULTS, Right, Way

DOCS = ROOT / "docs"
EMPTY = "nodes: [{name: n, kind: simulated}]"
_TOLD = {Right.RESCUED: "answer", Right.CLEAN: "error", Right.SAME: "its reason"}


def told(way: Way | None, *, is_helped: bool, is_streamed: bool) -> str:
    """Return what the table of faults says of one way of asking."""
    if way is None:
        return "-"
    right = way.helped if is_helped else way.alone
    if right is Right.RESCUED:
        return "answer"
    if way.status is None:
        return "error event" if right is Right.CLEAN and is_streamed else _TOLD[right]
    return f"{_TOLD[right]}, {way.status}"


def test_what_is_promised_for_each_fault() -> None:
    promised: dict[str, tuple[str, ...]] = {}
    for names, done, *cells in tables(DOCS / "recovery.md")["What is promised"]:
        assert done
        for name in names.split():
            assert name not in promised, f"{name} is promised twice"
            promised[name] = tuple(cells)
    right = {
        name: (
            told(one.streamed, is_helped=True, is_streamed=True),
            told(one.whole, is_helped=True, is_streamed=False),
            told(one.streamed, is_helped=False, is_streamed=True),
            told(one.whole, is_helped=False, is_streamed=False),
        )
        for name, one in FAULTS.items()
    }
    assert promised == right


def test_the_longest_call() -> None:
    formula = re.search(r"longest call = min\(total, deadline\) \+ ([\d.]+) s", (DOCS / "recovery.md").read_text())
    assert formula is not None
    assert float(formula[1]) == pytest.approx(DEADLINE_SLACK_S + TICK_S)


def test_the_limits_that_the_page_on_recovery_names() -> None:
    text = (DOCS / "recovery.md").read_text()
    config = loads(EMPTY)
    for name, value in msgspec.structs.asdict(config.timeouts).items():
        if value is not None:
            assert re.search(rf"`(?:timeouts\.)?{name}` \({value:g}\)", text), name
    assert f"`retries.max_attempts` ({config.retries.max_attempts})" in text
    waits = config.queue.max_wait_s
    assert f"{waits.interactive:g}, {waits.normal:g} or {waits.batch:g} s" in text


def test_steps_of_the_ladder() -> None:
    rows = tables(DOCS / "recovery.md")["What a degraded fleet gives up"]
    ladder = Ladder()
    for at, (step, pressure, _) in enumerate(rows):
        ladder.climb(float(pressure), 0.0)
        assert [one.value for one in ladder.given_up] == [row[0] for row in rows[: at + 1]], step


def test_who_may_finish_an_answer() -> None:
    rows = tables(DOCS / "recovery.md")["Rescue"]
    text = (DOCS / "recovery.md").read_text()
    assert {row[2] for row in rows if len(row) == 3} == {mode.value for mode in RescueMode}
    assert all(f"| `{who}`" in text for who in (*Rescue, "restart"))


def test_verdicts_events_and_metrics() -> None:
    listed = tables(DOCS / "monitoring.md")
    assert [row[0] for row in listed["Is it well"]] == list(Verdict)
    assert [row[0] for row in listed["What operators see"]] == list(KINDS)
    assert [tuple(row[:3]) for row in listed["Metrics"]] == families()


@cache
def families() -> list[tuple[str, str, str]]:
    """Return every family of metrics: its name as it is scraped, its type, its labels."""

    async def collect() -> list[tuple[str, str, str]]:
        running = RunningGateway(loads(EMPTY + "\nlisten: 127.0.0.1:0\nstate: {enabled: false}"))
        await running.prepare()
        fleet, queue = running.orchestrator.fleet, running.orchestrator.lobby.queue.state(0.0)
        recorder: Any = running.gateway._recorder
        health = running.orchestrator.system_health()
        found = list(_Collector(recorder.metrics, fleet, StoreCounters(), queue, health, 0).collect())
        await running.stop(0.0)
        return [
            (one.name + "_total" * (one.type == "counter"), one.type, ", ".join(getattr(one, "_labelnames", ())))
            for one in found
        ]

    return asyncio.run(collect())


def test_alerts_are_about_metrics_that_there_are() -> None:
    (block,) = [block for block in blocks("yaml") if "alert:" in block.text]
    labels = {name: set(filter(None, told.split(", "))) for name, _, told in families()}
    for rule in yaml.safe_load(block.text)["groups"][0]["rules"]:
        for name, chosen in re.findall(r"(fairlead_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            base = re.sub(r"_bucket$", "", name)
            assert base in labels, name
            assert set(re.findall(r"(\w+)=", chosen)) <= labels[base], rule["alert"]


@cache
def literals() -> tuple[str, ...]:
    """Return every text that the program can print, with a mark in the place of what is filled in."""
    found = []
    for path in sorted((ROOT / "src" / "fairlead").rglob("*.py")):
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in one.values)
                )
            elif isinstance(one, ast.Constant) and isinstance(one.value, str):
                found.append(one.value)
    return tuple(found)


def messages() -> list[str]:
    """Return the messages of the page on troubleshooting: what stands in the first column as code, without status."""
    page = (DOCS / "troubleshooting.md").read_text()
    heads = ("| message ", "| status and message ", "| symptom ")
    found = []
    for table in re.split(r"\n\n", page):
        if table.startswith(heads):
            for line in table.splitlines()[2:]:
                found += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return found


@pytest.mark.parametrize("message", messages())
def test_messages_are_what_the_program_prints(message: str) -> None:
    parts = [part.strip() for part in message.split("...")]
    for part in (part for part in parts if len(part) > 3):
        assert any(part in literal.replace("%s", "\0") for literal in literals()), part


def test_reasons_for_getting_no_tasks() -> None:
    rows = tables(DOCS / "troubleshooting.md")["A node gets no tasks"]
    named = {reason.strip() for row in rows for reason in row[0].split(",")}
    assert named == {reason.value for reason in Reason} - {Reason.TRIED.value}


def test_the_unit_starts_what_there_is_and_waits_for_the_end() -> None:
    (block,) = blocks("ini")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names of units keep their capitals
    unit.read_string(block.text)
    service = unit["Service"]
    for key in ("ExecStart", "ExecStartPre"):
        program, command, file = service[key].split()
        assert Path(program).name == "fairlead"
        assert command in COMMANDS
        assert file.endswith(".yaml")
    assert float(service["TimeoutStopSec"]) > loads(EMPTY).drain_s
    assert "-HUP" in service["ExecReload"]


def test_the_container_runs_what_there_is() -> None:
    (block,) = blocks("dockerfile")
    steps = dict(line.split(" ", 1) for line in block.text.splitlines())
    assert yaml.safe_load(steps["ENTRYPOINT"]) == ["fairlead"]
    assert yaml.safe_load(steps["CMD"])[0] in COMMANDS
    assert steps["STOPSIGNAL"] == "SIGTERM"
    assert "FAIRLEAD_STATE" in steps["ENV"]


@pytest.mark.parametrize("block", blocks("js"), ids=str)
def test_javascript_is_well_formed(block: Block, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    file = tmp_path / "page.mjs"
    file.write_text(block.text)
    done = subprocess.run([node, "--check", str(file)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_files_of_the_orchestrator_are_there() -> None:
    rows = tables(DOCS / "architecture.md")["The life of a task"]
    told = {file.strip() for row in rows for file in row[0].split(",")}
    assert told <= {path.name for path in (ROOT / "src" / "fairlead" / "orchestrator").iterdir()}
    assert len(told) > 10


def test_what_can_be_measured_is_there() -> None:
    text = (DOCS / "performance.md").read_text()
    for path in re.findall(r"`python (bench/\w+\.py)", text):
        assert (ROOT / path).exists(), path
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= make_targets()
