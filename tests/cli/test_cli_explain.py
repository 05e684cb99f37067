"""`fairlead explain`: what it shows of a decision, and one clear sentence where there is nothing to show."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import fairlead.cli.output
from fairlead.allocation import Account
from fairlead.cli.explain import explain
from fairlead.cli.explaining import show
from fairlead.config import loads
from fairlead.config.schema import StateConfig
from fairlead.domain import Model, Node, Price, Task
from fairlead.errors import FairleadError
from fairlead.gateway import RunningGateway
from fairlead.httpget import get
from fairlead.persistence.paths import default_path
from fairlead.persistence.rows import DecisionRow, FeedbackRow
from fairlead.persistence.store import StateStore
from fairlead.routing.candidate import Candidate
from fairlead.routing.config import RoutingConfig
from fairlead.routing.filters import unfit
from fairlead.routing.requirements import Prospect, requirements, shortfalls
from fairlead.telemetry.decision_log import MAX_RECORD_BYTES, DecisionRecord, Feedback, render


def factor(weight: float, value: float, known: bool = True) -> dict[str, Any]:
    return {"weight": weight, "value": value, "known": known}


def ranked(name: str, score: float, **more: Any) -> dict[str, Any]:
    factors = {
        "capability": factor(0.4, 0.82),
        "performance": factor(0.3, 0.7),
        "resource_efficiency": factor(0.2, 0.9),
        "historical_success": factor(0.1, 0.5, known=False),
    }
    usual = {"quality": 0.777, "confidence": 0.64, "cost_usd": 0.00031, "latency_s": 0.81}
    return {"model": name, "score": score, **usual, "factors": factors, **more}


BARE: dict[str, Any] = {
    "id": "k3-17",
    "at": 1795262624.5,
    "outcome": "success",
    "status": 200,
    "attempts": 2,
    "latency_ms": 812.3,
    "first_token_ms": 90.1,
    "usage": {"input_tokens": 120, "output_tokens": 340},
    "failures": [{"attempt": 1, "node": "gpu-2", "fault": "unavailable", "message": "model is \x1b[31mloading"}],
    "decision": {
        "category": "coding",
        "asked_for": "auto",
        "strategy": "hybrid",
        "chosen": {"model": "coder", "node": "gpu-1"},
        "why": "the best of those with room",
        "candidates": [
            {"model": "coder", "node": "gpu-1", "score": 0.71, "factors": {"affinity": {"value": 0.8, "known": True}}},
            {"model": "small", "node": "gpu-2", "score": 0.5, "factors": {"affinity": {"value": 0.5, "known": False}}},
        ],
        "candidates_compared": 2,
        "candidates_qualified": 2,
        "rejected": [{"model": "tiny", "node": "gpu-3", "reason": "circuit open", "detail": "for 12 s"}],
        "rejected_by_reason": {"circuit open": 3},
    },
}
"""As a gateway tells it whose engine ranks no models."""
RICH: dict[str, Any] = BARE | {
    "decision": BARE["decision"]
    | {
        "models": [ranked("coder", 0.712), ranked("gpt-4o", 0.681, latency_s=None, cost_usd=0.0123)],
        "models_why": "the best by score",
        "margin": 0.031,
        "runner_up": "gpt-4o",
        "explored": False,
        "propensity": 0.96,
        "anomalies": [{"model": "gpt-4o", "what": "slow"}],
    },
    "learnt": {"model": "coder", "category": "coding", "quality_before": 0.71, "quality_after": 0.724},
    "feedback": {"score": 1.0, "comment": "well\ndone"},
}


def shown(capsys: pytest.CaptureFixture[str], record: dict[str, Any], *, full: bool = False) -> list[str]:
    show(record, full=full)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


class TestShow:
    def test_what_the_decision_rests_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = shown(capsys, RICH)
        for line in (
            "decision   k3-17, 2026-11-21 12:03:44 UTC",
            "outcome    success (200), 2 attempts, 812 ms, first token after 90 ms, 120 tokens read, 340 written",
            "asked for  auto, for coding",
            "chosen     coder on gpu-1 by hybrid",
            "its model  the best by score",
            "because    the best of those with room",
            "runner-up  gpt-4o, behind by 0.031",
            "explored   no; the chance of this choice was 96%",
            "anomaly    model gpt-4o, what slow",
            "learnt     coder for coding: expected quality 0.710 -> 0.724",
            "feedback   1 'well\\ndone'",
        ):
            assert line in lines
        (best,) = [line.split() for line in lines if line.startswith(">  coder") and "$" in line]
        assert best == [">", "coder", "0.712", "64%", "$0.00031", "0.81", "s", "0.82", "0.70", "0.90", "0.50?"]
        (second,) = [line.split() for line in lines if line.startswith("   gpt-4o")]
        assert second[:4] == ["gpt-4o", "0.681", "64%", "$0.012"]
        assert any("x 0.40" in line and "x 0.10" in line for line in lines)
        assert "tiny       gpu-3  circuit open: for 12 s" in lines
        assert "   and 2 more: --full shows them" in lines

    def test_what_it_took_and_how_long_it_waited(self, capsys: pytest.CaptureFixture[str]) -> None:
        held = {"slots": 1, "input_tokens": 25, "output_tokens": 400}
        took = {"priority": 8, "queued_ms": 3923.4, "decision": BARE["decision"] | {"leased": held}}
        lines = shown(capsys, BARE | took)
        assert "reserved   25 tokens for the prompt, 400 to write" in lines
        assert any("2 attempts, batch (priority 8), waited 3923 ms for room, 812 ms" in line for line in lines)
        usual = {"priority": 4, "queued_ms": 0.0, "decision": BARE["decision"] | {"leased": {"slots": 1}}}
        assert shown(capsys, BARE | usual) == shown(capsys, BARE), "what is as usual goes without saying"

    def test_full_shows_what_each_factor_adds(self, capsys: pytest.CaptureFixture[str]) -> None:
        many = RICH | {"decision": RICH["decision"] | {"models": [ranked(f"m{i:02}", 0.5) for i in range(30)]}}
        assert sum(line.lstrip().startswith("m") and "0.500" in line for line in shown(capsys, many)) == 8
        lines = shown(capsys, many, full=True)
        assert sum(line.lstrip().startswith("m") and "0.500" in line for line in lines) == 30
        assert sum("+ 0.328" in line for line in lines) == 30
        assert sum("0.777" in line for line in lines) == 30
        assert "   and 2 more, of which only the number is kept" in lines

    def test_a_record_without_ranked_models(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = shown(capsys, BARE)
        assert "chosen     coder on gpu-1 by hybrid" in lines
        assert not any(line.startswith(("runner-up", "explored", "learnt", "feedback")) for line in lines)
        assert any(line.startswith("? nothing is known yet") for line in lines)

    def test_an_explored_choice_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        explored = RICH | {"decision": RICH["decision"] | {"explored": True, "propensity": 0.0123}}
        line = "explored   yes, to learn about it; the chance of this choice was 1.2%"
        assert line in shown(capsys, explored)

    @pytest.mark.parametrize(
        ("outcome", "reason", "line"),
        [
            ("success", "the answer is no JSON", "cascade    careful 1/2: not taken, the answer is no JSON"),
            ("unavailable", "no whole answer came", "cascade    careful 1/2: not taken, no whole answer came"),
            ("success", None, "cascade    careful 1/2: taken"),
            ("cancelled", None, "cascade    careful 1/2"),
        ],
    )
    def test_a_step_of_a_cascade(
        self, outcome: str, reason: str | None, line: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        step = {"step": "careful 1/2", "not_taken_because": reason}
        assert line in shown(capsys, RICH | {"outcome": outcome, "cascade": step})
        assert not any(line.startswith("cascade") for line in shown(capsys, RICH))

    @pytest.mark.parametrize(
        ("before", "after", "words"),
        [
            (0.5, 0.6214, "performance of echo on cmd 0.50 -> 0.62"),
            (None, 0.6214, "performance of echo on cmd 0.62"),
            (0.5, None, None),
            (None, None, None),
        ],
    )
    def test_what_an_outcome_taught(
        self, before: float | None, after: float | None, words: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        learnt = {
            "from": "outcome",
            "model": "echo",
            "node": "cmd",
            "performance_before": before,
            "performance_after": after,
        }
        lines = shown(capsys, BARE | {"learnt": [learnt]})
        expected = [] if words is None else [f"learnt     from the outcome: {words}"]
        assert [line for line in lines if line.startswith("learnt")] == expected

    def test_a_task_that_nobody_took(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = shown(capsys, BARE | {"decision": None, "outcome": "unavailable", "status": 503})
        assert "chosen     nobody: every candidate was ruled out or busy" in lines

    def test_nothing_reaches_the_terminal_unseen(self, capsys: pytest.CaptureFixture[str]) -> None:
        bad = RICH | {"learnt": "\x1b[2J", "decision": RICH["decision"] | {"why": "\x1b]0;x\x07"}}
        assert not {"\x1b", "\x07"} & set("".join(shown(capsys, bad)))

    @pytest.mark.parametrize("full", [False, True])
    def test_it_fits_a_terminal(
        self, full: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        console = Console(width=100, color_system=None, highlight=False, markup=False)
        monkeypatch.setattr(fairlead.cli.output, "console", lambda err=False: console)
        assert max(map(len, shown(capsys, RICH, full=full))) <= 100

    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=6,
    )

    @given(plain, plain)
    def test_what_was_learnt_may_have_any_form(self, learnt: object, feedback: object) -> None:
        show(RICH | {"learnt": learnt, "feedback": feedback})


class TestRecord:
    def test_a_comment_is_shown_whole_where_it_fits(self) -> None:
        for comment, shown_letters in (("x" * 2000, 2000), ("\N{GRINNING FACE}" * 2000, 500)):
            record = DecisionRecord(Task("t", 0), None, 0.0, (), feedback=Feedback(1.0, comment))
            told = render(record)
            assert told["feedback"]["comment"] == comment[:shown_letters]
            assert len(json.dumps(told, ensure_ascii=False).encode()) <= MAX_RECORD_BYTES
            assert render(record, full=True)["feedback"]["comment"] == comment

    @pytest.mark.parametrize(
        ("cost_usd", "limit_usd", "words"),
        [
            (3e-9, 1e-9, "about $0.000000003, at most $0.000000001 allowed"),
            (0.01234567, 0.0, "about $0.012346, at most $0 allowed"),
            (1234.5, 1000, "about $1234.5, at most $1000 allowed"),
            (3e-20, 1e-20, "about $3e-20, at most $1e-20 allowed"),
        ],
    )
    def test_a_small_price_is_not_shown_as_none(self, cost_usd: float, limit_usd: float, words: str) -> None:
        model = Model("m", price=Price(cost_usd, 0.0))
        task = Task("t", 0, input_tokens=1_000_000, max_cost_usd=limit_usd)
        rejection = unfit(task, Candidate(model, Node("n"), Account(), 0, 60.0))
        assert rejection is not None
        assert rejection.detail == words
        asked = requirements(task, RoutingConfig(), 0.0)
        prospect = Prospect("m", None, None, 0.5, False, cost_usd, None)
        assert [detail for _, detail in shortfalls(asked, prospect)] == [words]


class Gateway(ThreadingHTTPServer):
    """Answers every request alike, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body = 200, json.dumps(RICH).encode()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def says(self, status: int, message: str) -> None:
        self.status, self.body = status, json.dumps({"error": {"message": message}}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization")))
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("FAIRLEAD_KEY", raising=False)


def run(*args: object, key: str | None = None) -> Result:
    return CliRunner().invoke(explain, [str(arg) for arg in args], env={"FAIRLEAD_KEY": key})


def complaint(*args: object, key: str | None = None) -> str:
    error = run(*args, key=key).exception
    assert isinstance(error, FairleadError), error
    assert "\n" not in str(error)
    return str(error)


class TestAsking:
    def test_for_people_and_machines(self, gateway: Gateway) -> None:
        assert "runner-up  gpt-4o, behind by 0.031" in run("k3-17", "--url", gateway.url).output
        assert json.loads(run("k3-17", "--url", f"{gateway.url}/", "--json").output) == RICH
        assert gateway.asked == [("/v1/decisions/k3-17", None)] * 2

    def test_how_it_asks(self, gateway: Gateway) -> None:
        run("a/b ?", "--url", gateway.url, "--full", key="from-outside")
        run("x", "--url", gateway.url, "--key", "said", key="from-outside")
        assert gateway.asked == [
            ("/v1/decisions/a%2Fb%20%3F?full=true", "Bearer from-outside"),
            ("/v1/decisions/x", "Bearer said"),
        ]

    def test_an_unknown_decision(self, gateway: Gateway) -> None:
        gateway.says(404, "no decision 'x' of yours is remembered")
        assert complaint("x", "--url", gateway.url) == f"{gateway.url}: no decision 'x' of yours is remembered"

    def test_keys(self, gateway: Gateway) -> None:
        gateway.says(401, "an API key is needed")
        assert "needs a key: say it with --key" in complaint("x", "--url", gateway.url)
        assert "does not know this key" in complaint("x", "--url", gateway.url, "--key", "secret-1")
        for bad in ("a\nb", "schlüssel", "a b"):
            text = complaint("x", "--url", gateway.url, "--key", bad)
            assert "the key holds a character" in text
            assert bad not in text

    @pytest.mark.parametrize(
        ("status", "body"), [(200, b"<html>"), (200, b"[]"), (200, b'{"a": 1}'), (404, b"nothing"), (302, b"")]
    )
    def test_somebody_else_answers(self, gateway: Gateway, status: int, body: bytes) -> None:
        gateway.status, gateway.body = status, body
        assert "is no fairlead gateway" in complaint("x", "--url", gateway.url)

    def test_nobody_answers(self, closed_port: int, tmp_path: Path) -> None:
        text = complaint("x", "--url", f"http://127.0.0.1:{closed_port}")
        assert text.startswith(f"no gateway answers at http://127.0.0.1:{closed_port} (connection refused): start it")
        text = complaint("x", "--socket", tmp_path / "none.sock")
        assert text.startswith(f"no gateway answers at the socket {tmp_path}/none.sock (no such file or directory)")

    @pytest.mark.parametrize("url", ["", "127.0.0.1:8400", "ftp://a", "http://", "http://a:x", "http://[::1"])
    def test_no_address(self, url: str) -> None:
        assert "is no address of a gateway; write it like http://127.0.0.1:8400" in complaint("x", "--url", url)

    def test_a_real_gateway(self, tmp_path: Path) -> None:
        unix = tmp_path / "admin.sock"
        text = f"listen: 127.0.0.1:0\nunix_socket: {unix}\nnodes: [{{kind: simulated, name: sim, models: [m]}}]\n"
        keys = "keys: [{name: alice, key: alices-key}]\nstate: {enabled: false}\n"

        async def main() -> None:
            running = RunningGateway(loads(text + keys))
            await running.start()
            try:
                headers = {"Authorization": "Bearer alices-key"}
                body = b'{"model": "auto", "messages": [{"role": "user", "content": "fix the crash"}]}'
                url = f"{running.url}/v1/chat/completions"
                said = await get(url, headers=headers, body=body, timeout_s=20, limit_bytes=2**20)
                decision = said.headers["x-fairlead-decision"]
                by_key = await asyncio.to_thread(run, decision, "--url", running.url, "--key", "alices-key", "--full")
                by_socket = await asyncio.to_thread(run, decision, "--socket", unix, "--json")
                assert "chosen     m on sim" in by_key.output, by_key
                assert json.loads(by_socket.output)["decision"]["chosen"] == {"model": "m", "node": "sim"}
                unknown = await asyncio.to_thread(complaint, "zzz", "--url", running.url, "--key", "alices-key")
                assert "no decision 'zzz' of yours is remembered" in unknown
                assert "does not know this key" in await asyncio.to_thread(
                    complaint, decision, "--url", running.url, "--key", "another"
                )
            finally:
                await running.stop(0.0)

        asyncio.run(main())


def keep(path: Path) -> None:
    """Leave a state file behind with one decision, as a gateway would."""
    with StateStore.open(path, StateConfig(), print) as store:
        row = DecisionRow(
            id="k3-17", at_s=RICH["at"], category="coding", model="coder", node="gpu-1", outcome="success",
            latency_s=0.8123, tell=lambda: {"decision": RICH["decision"]}, is_special=True,
        )  # fmt: skip
        store.add_decision(row)
        learnt = {"model": "coder", "category": "coding", "quality_before": 0.5, "quality_after": 0.25}
        store.add_feedback(FeedbackRow(decision_id="k3-17", at_s=RICH["at"], score=0.0, learnt=learnt))
        assert store.flush()


class TestStateFile:
    def test_what_a_gateway_left_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "kept.db"
        keep(path)
        lines = run("k3-17", "--path", path).output.splitlines()
        assert "decision   k3-17, 2026-11-21 12:03:44 UTC" in lines
        assert "runner-up  gpt-4o, behind by 0.031" in lines
        assert "learnt     coder for coding: expected quality 0.500 -> 0.250" in lines
        told = json.loads(run("k3-17", "--path", path, "--json").output)
        assert told["decision"] == RICH["decision"]
        assert complaint("zzz", "--path", path) == (
            f"{path} keeps no decision 'zzz' in full; the oldest ones are dropped in time"
        )

    def test_it_stands_in_for_a_gateway_that_is_not_there(self, closed_port: int) -> None:
        keep(default_path(closed_port))
        done = run("k3-17", "--url", f"http://127.0.0.1:{closed_port}")
        assert "chosen     coder on gpu-1 by hybrid" in done.stdout
        assert done.stderr.startswith("no gateway answers at")
        assert str(default_path(closed_port)) in done.stderr

    def test_no_state_file(self, tmp_path: Path) -> None:
        assert "there is no state at" in complaint("x", "--path", tmp_path / "none.db")
        (tmp_path / "bad.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
        assert str(tmp_path / "bad.db") in complaint("x", "--path", tmp_path / "bad.db")
