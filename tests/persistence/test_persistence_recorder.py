"""What the recorder hands to a store: rows made off the hot path, with feedback and what came of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from persistence_shared import NOW_S, opened

from fairlead.config.schema import LogPrompts
from fairlead.dialects.contract import ErrorInfo, Usage
from fairlead.domain import Model, Node, Price, Task, TaskCategory
from fairlead.engine.fleet import Fleet
from fairlead.errors import Fault
from fairlead.orchestrator.steps import Step
from fairlead.persistence.overview import overview
from fairlead.persistence.rows import DecisionRow, FeedbackRow, StoreCounters, StoredDecision
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.telemetry.decision_log import MAX_RECORD_BYTES, Feedback, render
from fairlead.telemetry.recorder import Recorder


class Ended:
    """What the recorder reads of an exchange that is over."""

    step: Step | None = None
    error = None
    rescues = ()
    hedge = None
    dispatch = SimpleNamespace(queued_s=0.0)

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class FakeStore:
    """Keeps rows as they come."""

    def __init__(self, keeps_prompts: bool = False) -> None:
        self.keeps_prompts = keeps_prompts
        self.keeps_messages = keeps_prompts
        self.rows: list[DecisionRow] = []
        self.feedback: list[FeedbackRow] = []
        self.stored: dict[str, StoredDecision] = {}
        self.counters = StoreCounters()
        self.looked_up: list[str] = []

    def add_decision(self, row: DecisionRow) -> None:
        self.rows.append(row)

    def add_feedback(self, row: FeedbackRow) -> None:
        self.feedback.append(row)

    def find_decision(self, decision_id: str) -> StoredDecision | None:
        self.looked_up.append(decision_id)
        return self.stored.get(decision_id)


def exchange(name: str = "t1", fault: Fault | None = None, n_decisions: int = 1, tenant: str | None = None) -> Any:
    """Return a finished exchange of a small fleet, with what the recorder reads of it."""
    fleet = Fleet(make_strategy("hybrid", RoutingSettings()))
    for number in range(3):
        fleet.add(Model("coder", price=Price(1.0, 2.0)), Node(f"gpu-{number}"), 0.0)
    task = Task(id=name, key=1, category=TaskCategory.CODING, tenant=tenant)
    decisions = [fleet.decide(task, 1.0, number + 1) for number in range(n_decisions)]
    usage = Usage(1_000_000, 500_000)
    call = SimpleNamespace(prompt="a private prompt")
    times = {"began_s": 1.0, "ended_s": 3.0, "first_s": 1.5}
    return Ended(task=task, fault=fault, decisions=decisions, status=200, usage=usage, call=call, **times)


def test_a_row_tells_what_happened() -> None:
    store = FakeStore()
    recorder = Recorder(store)
    recorder.on_finished(exchange(tenant="alice"))
    (row,) = store.rows
    assert (row.id, row.tenant, row.category, row.model, row.outcome) == ("t1", "alice", "coding", "coder", "success")
    assert row.node.startswith("gpu-")
    assert (row.latency_s, row.first_token_s) == (2.0, 0.5)
    assert (row.input_tokens, row.output_tokens, row.cost_usd) == (1_000_000, 500_000, 2.0)
    assert (row.prompt, row.is_special) == (None, False)
    assert row.propensity is not None
    assert row.propensity() is None or 0.0 < (row.propensity() or 0.0) <= 1.0
    assert row.tell is not None
    told: Any = row.tell()
    assert told["decision"]["chosen"]["model"] == "coder"
    assert len(told["decision"]["candidates"]) == 3


@pytest.mark.parametrize(("fault", "n_decisions"), [(Fault.TIMEOUT, 1), (Fault.UNAVAILABLE, 0)])
def test_an_error_is_special(fault: Fault, n_decisions: int) -> None:
    store = FakeStore()
    Recorder(store).on_finished(exchange(fault=fault, n_decisions=n_decisions))
    (row,) = store.rows
    assert row.is_special
    assert row.outcome == fault.value
    assert bool(row.model) is bool(n_decisions)


def test_a_rescue_is_special() -> None:
    store = FakeStore()
    recorder = Recorder(store)
    rescued: Any = exchange(n_decisions=2)
    recorder.on_attempt_failed(rescued, rescued.decisions[-1], Fault.TRANSPORT, ErrorInfo(502, "broke"))
    recorder.on_finished(rescued)
    (row,) = store.rows
    assert row.is_special
    assert row.outcome == "success"


def test_prompts_are_handed_on_only_where_they_are_kept() -> None:
    for keeps in (False, True):
        store = FakeStore(keeps)
        recorder = Recorder(store)
        recorder.on_finished(exchange())
        assert store.rows[0].prompt == ("a private prompt" if keeps else None)


@pytest.mark.parametrize("policy", list(LogPrompts))
def test_a_node_that_quotes_the_prompt_does_not_bring_it_to_the_disk(tmp_path: Path, policy: LogPrompts) -> None:
    quoting = ErrorInfo(400, "cannot do: 'a private prompt'")
    with opened(tmp_path / "state.db", log_prompts=policy) as store:
        recorder = Recorder(store)
        rescued: Any = exchange(n_decisions=2)
        recorder.on_attempt_failed(rescued, rescued.decisions[-1], Fault.TRANSPORT, quoting)
        recorder.on_finished(rescued)
        assert store.flush()
        (failure,) = store.decisions()[0].factors["failures"]
        assert (failure["fault"], failure["attempt"]) == ("transport", 2)
        assert failure["message"] == (quoting.message if policy is LogPrompts.FULL else "")
        record: Any = recorder.find("t1", None, is_admin=True)
        assert render(record)["failures"] == [failure | {"message": quoting.message}]
        found = any(b"private prompt" in one.read_bytes() for one in tmp_path.iterdir())
        assert found is (policy in (LogPrompts.FULL, LogPrompts.REDACT))


def test_feedback_is_shown_and_stored_whatever_the_rate() -> None:
    store = FakeStore()
    recorder = Recorder(store)
    recorder.on_finished(exchange())
    record = recorder.decisions.find("t1", None, is_admin=True)
    assert record is not None
    assert render(record)["feedback"] is None
    recorder.on_feedback(record, Feedback(0.25, "too long", 7.0), {"quality": {"before": 0.5, "after": 0.4}})
    told = render(record)
    assert told["feedback"] == {"score": 0.25, "comment": "too long", "at": 7.0}
    assert told["learnt"][-1] == {"quality": {"before": 0.5, "after": 0.4}}
    assert store.rows[-1].is_special
    assert store.rows[-1].tell is not None
    assert store.rows[-1].tell() == told
    (said,) = store.feedback
    assert (said.decision_id, said.score, said.comment, said.learnt) == ("t1", 0.25, "too long", told["learnt"][-1])


def test_a_long_comment_leaves_a_record_small() -> None:
    recorder = Recorder()
    recorder.on_finished(exchange())
    record = recorder.decisions.find("t1", None, is_admin=True)
    assert record is not None
    recorder.on_feedback(record, Feedback(1.0, "x" * 100_000))
    assert len(msgspec.json.encode(render(record))) <= MAX_RECORD_BYTES


def test_a_decision_that_left_the_ring_is_read_from_the_store_by_its_owner(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db", log_prompts=LogPrompts.FULL) as store:
        before = Recorder(store)
        before.on_finished(exchange(tenant="alice"))
        record = before.find("t1", "alice", is_admin=False)
        assert record is not None
        assert store.flush()
        after = Recorder(store)
        for tenant, is_admin in (("alice", False), (None, True)):
            found = after.find("t1", tenant, is_admin=is_admin)
            assert found is not None
            assert render(found) == render(record)
            assert (found.model, found.task.id, found.task.category) == ("coder", "t1", TaskCategory.CODING)
        for recorder in (before, after):
            assert recorder.find("t1", "bob", is_admin=False) is None
            assert recorder.find("t2", "alice", is_admin=False) is None
        assert store.decisions()[0].prompt == "a private prompt"
    assert Recorder().find("t1", "alice", is_admin=False) is None


def test_feedback_for_a_decision_of_before_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path, log_prompts=LogPrompts.FULL) as store:
        Recorder(store).on_finished(exchange())
    with opened(path) as store:
        recorder = Recorder(store)
        assert recorder.given("t1") is None
        record = recorder.find("t1", None, is_admin=True)
        assert record is not None
        before = render(record)
        recorder.on_feedback(record, Feedback(0.5, "fine", NOW_S), {"n": 1})
        learnt = [*before["learnt"], {"n": 1}]
        expected = before | {"feedback": {"score": 0.5, "comment": "fine", "at": NOW_S}, "learnt": learnt}
        assert render(record) == expected
        assert store.flush()
        again = recorder.find("t1", None, is_admin=True)
        assert again is not None
        assert render(again) == expected
        said = recorder.given("t1")
        assert said is not None
        assert (said.score, said.comment, said.learnt) == (0.5, "fine", {"n": 1})
        assert store.decisions()[0].prompt == "a private prompt"


def test_what_the_ring_has_is_not_looked_up() -> None:
    store = FakeStore()
    recorder = Recorder(store)
    recorder.on_finished(exchange())
    record = recorder.find("t1", None, is_admin=True)
    assert record is not None
    assert recorder.given("t1") is None
    recorder.on_feedback(record, Feedback(0.25, "no", 7.0), {"n": 1})
    assert recorder.given("t1") == FeedbackRow("t1", 7.0, 0.25, "no", {"n": 1})
    assert store.looked_up == []


def test_what_was_just_found_is_not_looked_up_again() -> None:
    store = FakeStore()
    said = FeedbackRow("t1", 7.0, 0.25, "no", {"n": 1})
    usual: Any = {"at_s": 1.0, "tenant": None, "category": "coding", "model": "m", "node": "n", "outcome": "success"}
    unknown: Any = dict.fromkeys(("first_token_s", "cost_usd", "propensity", "prompt"))
    store.stored["t1"] = StoredDecision(
        id="t1", latency_s=1.0, input_tokens=1, output_tokens=1, factors={}, feedback=(said,), **usual, **unknown
    )
    recorder = Recorder(store)
    record = recorder.find("t1", None, is_admin=True)
    assert record is not None
    assert recorder.given("t1") == said
    assert store.looked_up == ["t1"]
    newer = FeedbackRow("t1", 8.0, 0.75, None, {"n": 2})
    recorder.find("t1", None, is_admin=True)
    recorder.on_feedback(record, Feedback(0.75, None, 8.0), {"n": 2})
    store.stored["t1"] = msgspec.structs.replace(store.stored["t1"], feedback=(said, newer))
    assert recorder.given("t1") == newer


def test_a_judged_decision_beyond_the_rate_is_one_task(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path, decisions_per_s=0.0) as store:
        recorder = Recorder(store)
        for number in range(3):
            recorder.on_finished(exchange(f"t{number}"))
            record = recorder.find(f"t{number}", None, is_admin=True)
            assert record is not None
            recorder.on_feedback(record, Feedback(1.0, None, NOW_S))
    seen = overview(path)
    assert (seen.decisions, seen.counted) == (3, 0)
    assert [(one.tasks, one.cost_usd, one.judged) for one in seen.models] == [(3, 6.0, 3)]
