"""`fairlead events`, `drain`, `undrain`, `recover`, and what `nodes` and `explain` tell of trouble."""

import io
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fairlead.cli import cli, draining, main
from fairlead.cli import events as events_command
from fairlead.cli.asking import NoGatewayError
from fairlead.cli.capacity import Paper
from fairlead.cli.events import EventsPage, line
from fairlead.cli.explaining import show
from fairlead.cli.nodes import NodesPage
from fairlead.cli.nodes import view as view_nodes

WALL_S = 1_700_000_000.0


def event(number: int, severity: str = "bad", text: str = "node gpu-1: circuit closed -> open (tripped)") -> Any:
    return {
        "number": number, "at": WALL_S + number, "kind": "circuit_changed", "severity": severity, "node": "gpu-1",
        "task": None, "text": text, "detail": {},
    }  # fmt: skip


def terminal(columns: int = 200, *, encoding: str = "utf-8", colour: bool = False) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return Console(
        file=file, width=columns, force_terminal=True, color_system="standard" if colour else None, highlight=False,
        markup=False, legacy_windows=False,
    )  # fmt: skip


def printed(drawn: Any, out: Console) -> str:
    out.print(drawn)
    file: Any = out.file
    data: bytes = file.buffer.getvalue()
    return data.decode(out.encoding)


class FakeGateway:
    """Answers `ask` from a list; each answer is a page, or an error to raise."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, path: str, part: str, **more: Any) -> Any:
        self.asked.append(path)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        assert part in answer
        return answer


Serve = Callable[..., FakeGateway]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    def serve_it(*answers: Any) -> FakeGateway:
        fake = FakeGateway(*answers)
        for module in (events_command, draining):
            monkeypatch.setattr(module, "ask", fake)
            monkeypatch.setattr(module, "_pause", lambda _: None)
        return fake

    return serve_it


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args), env={"FAIRLEAD_KEY": ""})


def page(*events: Any, next_number: int | None = None, started: float = WALL_S) -> dict[str, Any]:
    last = events[-1]["number"] if events else 0
    return {"events": list(events), "next": last if next_number is None else next_number, "started": started}


class TestEvents:
    def test_time_mark_and_sentence(self, serve: Serve) -> None:
        fake = serve(page(event(1), event(2, "good", "node gpu-1: circuit half_open -> closed (recovered)")))
        done = run("events", "--node", "gpu 1", "--kind", "circuit_changed", "--last", "5")
        assert done.exit_code == 0, done.output
        assert fake.asked == ["/admin/events?limit=5&node=gpu+1&kind=circuit_changed"]
        first, second = done.output.splitlines()
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [✖x] node gpu-1: circuit closed -> open \(tripped\)", first
        )
        assert second.endswith("node gpu-1: circuit half_open -> closed (recovered)")

    @pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "▲"), ("ascii", "!")])
    def test_a_mark_that_the_terminal_can_show(self, encoding: str, mark: str) -> None:
        out = terminal(encoding=encoding)
        told = msgspec.convert(event(1, "warning"), events_command._Event)
        assert f" {mark} node gpu-1" in printed(line(told, out), out)

    def test_the_day_is_left_out_for_today_in_a_terminal_alone(self) -> None:
        now = event(0) | {"at": datetime.now().astimezone().timestamp()}
        for told, day in ((now, ""), (event(0), r"\d{4}-\d\d-\d\d ")):
            out = terminal()
            text = printed(line(msgspec.convert(told, events_command._Event), out), out)
            assert re.match(day + r"\d\d:\d\d:\d\d ✖", text)

    def test_the_mark_has_the_colour_of_its_severity(self) -> None:
        out = terminal(colour=True)
        told = msgspec.convert(event(1), events_command._Event)
        assert "\x1b[31m✖" in printed(line(told, out), out)

    def test_what_came_from_elsewhere_gives_a_terminal_no_orders(self) -> None:
        out = terminal()
        told = msgspec.convert(event(1, text="node \x1b[2Ja\n b"), events_command._Event)
        assert "\x1b[2J" not in printed(line(told, out), out)

    def test_for_machines_one_a_line_as_the_gateway_told_it(self, serve: Serve) -> None:
        serve(page(event(1), event(2)))
        done = run("events", "--json")
        assert [json.loads(one) for one in done.output.splitlines()] == [event(1), event(2)]

    def test_nothing_happened(self, serve: Serve) -> None:
        serve(page(), page())
        assert run("events").output == "nothing happened yet\n"
        assert run("events", "--kind", "hedged").output == "nothing happened yet of this sort\n"

    def test_watching_goes_on_after_the_last_through_an_absence_and_a_restart(self, serve: Serve) -> None:
        fake = serve(
            page(event(1)),
            page(next_number=1),
            page(event(2), event(3)),
            NoGatewayError("no gateway answers at X"),
            NoGatewayError("no gateway answers at X"),
            page(next_number=1, started=WALL_S + 60),
            page(event(1, text="after the restart"), started=WALL_S + 60),
            KeyboardInterrupt(),
        )
        done = CliRunner().invoke(cli, ["events", "--watch", "--json"])
        lines = done.output.splitlines()
        told = [json.loads(one) for one in lines if one.startswith("{")]
        assert [one["number"] for one in told] == [1, 2, 3, 1]
        assert told[-1]["text"] == "after the restart"
        assert sum("waiting for it" in one for one in lines) == 1
        assert [one.rpartition("=")[2] for one in fake.asked[1:]] == ["1", "1", "3", "3", "3", "0", "1"]

    def test_from_now_on(self, serve: Serve) -> None:
        fake = serve(page(event(9)), page(event(10)), KeyboardInterrupt())
        done = CliRunner().invoke(cli, ["events", "--watch", "--last", "0", "--json"])
        assert [json.loads(one)["number"] for one in done.output.splitlines() if one.startswith("{")] == [10]
        assert fake.asked[1].endswith("after=9")

    @pytest.mark.parametrize("command", [["events"], ["drain", "a"], ["undrain", "a"], ["recover", "a"]])
    def test_nobody_answers(self, command: list[str], closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*command, "--url", f"http://127.0.0.1:{closed_port}"]) == 2
        assert capsys.readouterr().err == (
            f"fairlead: no gateway answers at http://127.0.0.1:{closed_port} (connection refused): "
            "start it with `fairlead serve`, or say with --url or --socket where to look\n"
        )

    def test_a_gateway_of_another_version(self, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
        serve({"events": [{"number": "one"}], "next": 1})
        assert main(["events"]) == 2
        assert "of another version" in capsys.readouterr().err


class TestDrain:
    @pytest.fixture(autouse=True)
    def _told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(draining, "_tell", lambda *_: None)

    def nodes(self, left: int, *, is_draining: bool = True) -> dict[str, Any]:
        return {"nodes": [{"name": "a", "draining": is_draining, "leased": {"slots": left}}]}

    def test_waiting_tells_how_many_are_left_until_none_is(self, serve: Serve) -> None:
        serve(self.nodes(2), self.nodes(2), self.nodes(1), self.nodes(0))
        done = run("drain", "a", "--wait")
        assert done.exit_code == 0
        assert done.output.splitlines() == [
            "node a gets no further tasks; `fairlead undrain a` takes that back",
            "2 tasks left on node a",
            "1 task left on node a",
            "no task is left on node a",
        ]

    def test_waiting_ends_where_somebody_takes_it_back(self, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
        serve(self.nodes(2), self.nodes(3, is_draining=False))
        assert main(["drain", "a", "--wait"]) == 1
        assert "was given tasks again meanwhile" in capsys.readouterr().err

    def test_waiting_ends_where_the_node_is_gone(self, serve: Serve) -> None:
        serve(self.nodes(2), {"nodes": []})
        assert run("drain", "a", "--wait").output.endswith("no task is left on node a\n")


class TestNodes:
    def test_the_verdict_and_why(self) -> None:
        usual = {"circuit": "closed", "models": ["m"], "utilization": 0.25, "leased": {"slots": 1}}
        health = {"verdict": "degraded", "why": "8 % of outcomes fail", "error_rate": 0.08, "excess_ms": 612.4,
                  "reachable": True}  # fmt: skip
        lost = {"verdict": "ejected", "why": "an outlier", "error_rate": None, "excess_ms": None, "reachable": None}
        nodes = [
            {"name": "a", "health": health, **usual},
            {"name": "b", "health": lost, **usual},
            {"name": "c", **usual},
        ]
        out = terminal()
        text = printed(view_nodes(msgspec.convert({"nodes": nodes}, NodesPage), Paper(out)), out).splitlines()
        assert " ".join(text[0].split()) == "node load slots circuit health why errors late by models"
        assert " ".join(text[1].split()) == "a no limit known 1 closed degraded 8 % of outcomes fail 8.0% 612 ms m"
        assert " ".join(text[2].split()) == "b no limit known 1 closed ejected an outlier m"
        assert "given no tasks: b" in [line.strip() for line in text]

    def test_a_gateway_that_tells_no_verdict_is_shown_without(self) -> None:
        node = {"name": "a", "circuit": "closed", "models": ["m"], "utilization": 0.25}
        out = terminal()
        text = printed(view_nodes(msgspec.convert({"nodes": [node]}, NodesPage), Paper(out)), out)
        assert "health" not in text


def record(**more: Any) -> dict[str, Any]:
    chosen = {"chosen": {"model": "m", "node": "gpu-3"}, "asked_for": "m", "category": "coding"}
    return {"id": "ab-1", "outcome": "success", "status": 200, "attempts": 3, "decision": chosen, **more}


FAILURES = [
    {"attempt": 1, "node": "gpu-1", "fault": "timeout", "message": "silent"},
    {"attempt": 2, "node": "gpu-2", "fault": "transport", "message": "reset"},
]


class TestExplain:
    def explained(self, capsys: pytest.CaptureFixture[str], **more: Any) -> list[str]:
        show(record(**more))
        return capsys.readouterr().out.splitlines()

    def test_why_it_went_to_another_node_stands_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = self.explained(capsys, failures=FAILURES)
        assert "failed     gpu-1 (timeout), then gpu-2 (transport), then gpu-3 answered" in text
        rows = [" ".join(line.split()) for line in text]
        assert "1 gpu-1 timeout gpu-2 silent" in rows
        assert "2 gpu-2 transport gpu-3 reset" in rows

    def test_a_task_that_failed_to_the_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = self.explained(capsys, failures=FAILURES, outcome="transport", status=502, attempts=2)
        assert "failed     gpu-1 (timeout), then gpu-2 (transport), and that was the end" in text

    def test_a_rescue_and_a_hedge(self, capsys: pytest.CaptureFixture[str]) -> None:
        rescue = {"node": "gpu-1", "to_node": "gpu-3", "to_model": "m", "how": "continued", "kept_bytes": 2100}
        hedge = {"node": "gpu-1", "to_node": "gpu-2", "after_s": 0.4, "won": False}
        text = self.explained(capsys, failures=FAILURES[:1], rescues=[rescue], hedge=hedge)
        assert "hedge      gpu-1 was silent for 0.40 s; gpu-2 was asked too and was later than it" in text
        assert "rescue     the answer broke on gpu-1 after 2.1 KB; gpu-3 (m) continued it" in text

    def test_where_nothing_failed_nothing_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = self.explained(capsys, failures=[], rescues=[], hedge=None, attempts=1)
        assert not [line for line in text if line.startswith(("failed", "hedge", "rescue"))]


def test_the_page_keeps_events_as_they_came() -> None:
    assert msgspec.convert(page(event(1)), EventsPage).events == [event(1)]
