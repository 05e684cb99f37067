"""What goes in comes out again, after a restart too; the log is bounded in rate; nothing is for other users' eyes."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from persistence_shared import NOW_S, opened, row

from fairlead.config.schema import LogPrompts
from fairlead.persistence.intake import Intake
from fairlead.persistence.paths import default_path
from fairlead.persistence.rows import FeedbackRow

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def tallies(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(
            "SELECT at_s, category, model, node, outcome, tasks, latency_s, input_tokens, output_tokens, cost_usd"
            " FROM tallies ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()


def test_documents_come_back_as_they_were(path: Path) -> None:
    documents: list[Any] = []

    @settings(max_examples=50)
    @given(PLAIN)
    def collect(document: Any) -> None:
        documents.append(document)

    collect()
    with opened(path) as store:
        for number, document in enumerate(documents):
            store.save(f"name {number}", document)
        assert store.flush()
        assert [store.load(f"name {number}") for number in range(len(documents))] == documents
    with opened(path) as store:
        assert [store.load(f"name {number}") for number in range(len(documents))] == documents
        assert store.load("no such") is None


def test_the_newest_document_of_a_name_stays(path: Path) -> None:
    with opened(path) as store:
        for number in range(100):
            store.save("scorer", {"number": number})
        store.save("fleet", [math.inf])
        assert store.flush()
        store.save("scorer", {"number": 100})
    with opened(path) as store:
        assert store.load("scorer") == {"number": 100}
        assert store.load("fleet") == [math.inf]


def test_an_unchanged_document_is_not_written_again(path: Path) -> None:
    with opened(path) as store:
        for _ in range(3):
            store.save("scorer", {"same": 1})
            assert store.flush()
        assert store.counters.documents_written == 1
        for number in (2, 1):
            store.save("scorer", {"same": number})
        assert store.flush()
        assert store.load("scorer") == {"same": 1}


def test_an_unusable_document_is_put_aside_by_its_reader(path: Path) -> None:
    with opened(path) as store:
        store.save("scorer", "what no scorer understands")
        assert store.flush()
        aside = store.set_aside("scorer")
        store.save("scorer", "new")
        assert store.flush()
        assert store.load(aside) == "what no scorer understands"
        assert store.load("scorer") == "new"


def test_a_damaged_document_is_put_aside_and_reported(path: Path) -> None:
    with opened(path) as store:
        store.save("scorer", "good")
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE documents SET content = x'c1'")
        database.commit()
    said: list[str] = []
    with opened(path, said) as store:
        assert store.load("scorer") is None
        assert store.flush()
    assert len(said) == 1
    assert "'scorer' is damaged" in said[0]
    with closing(sqlite3.connect(path)) as database:
        ((name, content),) = database.execute("SELECT name, content FROM documents").fetchall()
    assert name.startswith("scorer.damaged-")
    assert content == b"\xc1"


def test_a_decision_comes_back_with_what_was_said_of_it(path: Path) -> None:
    with opened(path) as store:
        store.add_decision(
            row(
                "d1",
                tenant="alice",
                first_token_s=0.1,
                input_tokens=7,
                output_tokens=9,
                cost_usd=0.25,
                propensity=lambda: 0.9,
                tell=lambda: {"decision": {"why": "best"}},
            )
        )
        store.add_feedback(FeedbackRow(decision_id="d1", at_s=NOW_S, score=0.0, comment="no"))
        store.add_feedback(FeedbackRow(decision_id="d1", at_s=NOW_S + 1, score=1.0, learnt={"quality": 0.7}))
    with opened(path) as store:
        one = store.find_decision("d1")
        assert one is not None
        assert (one.id, one.at_s, one.tenant, one.category, one.model) == ("d1", NOW_S, "alice", "coding", "m")
        assert (one.node, one.outcome, one.latency_s, one.first_token_s) == ("n", "success", 0.5, 0.1)
        assert (one.input_tokens, one.output_tokens, one.cost_usd, one.propensity) == (7, 9, 0.25, 0.9)
        assert [said.score for said in one.feedback] == [0.0, 1.0]
        assert one.told() == {
            "decision": {"why": "best"},
            "feedback": {"score": 1.0, "comment": None, "at": NOW_S + 1},
            "learnt": [{"quality": 0.7}],
        }
        assert store.find_decision("d2") is None


def test_decisions_are_listed_newest_first(path: Path) -> None:
    with opened(path) as store:
        for number in range(10):
            store.add_decision(row(f"d{number}", NOW_S - 10 + number, model="even" if number % 2 == 0 else "odd"))
        store.add_feedback(FeedbackRow(decision_id="d4", at_s=NOW_S, score=1.0))
        assert store.flush()
        assert [one.id for one in store.decisions(3)] == ["d9", "d8", "d7"]
        assert [one.id for one in store.decisions(2, model="even")] == ["d8", "d6"]
        assert [one.id for one in store.decisions(since_s=NOW_S - 2)] == ["d9", "d8"]
        assert [one.id for one in store.decisions(with_feedback=True)] == ["d4"]


def test_a_decision_that_is_judged_later_is_one_row(path: Path) -> None:
    with opened(path, log_prompts=LogPrompts.FULL) as store:
        store.add_decision(row("d1", prompt="hello", tell=lambda: {"n": 1}))
        assert store.flush()
        store.add_decision(row("d1", is_special=True, tell=lambda: {"n": 2}))
        assert store.flush()
        (one,) = store.decisions()
        assert (one.factors, one.prompt) == ({"n": 2}, "hello")


@pytest.mark.parametrize(("rate", "in_ten_seconds"), [(200.0, 2000), (3.0, 30), (0.5, 5), (0.25, 2), (0.0, 0)])
def test_the_rate_of_full_rows(rate: float, in_ten_seconds: int) -> None:
    intake = Intake(rate, max_rows=10_000)
    for second in range(10):
        for number in range(300):
            intake.add_decision(row("d", 1_000_000.0 + second + number / 300))
        assert len(intake.rows) <= math.ceil(rate) * (second + 1)
    assert len(intake.rows) == in_ten_seconds
    assert len(intake.tallies) == intake.counted == 3000 - in_ten_seconds


def test_a_clock_that_is_set_back_stops_nothing_and_opens_nothing() -> None:
    intake = Intake(2.0)
    for at_s in (100.9, 101.0, 100.9, 101.1, 100.8, 101.2):
        intake.add_decision(row(at_s=at_s))
    assert len(intake.rows) == 1 + 2
    for _ in range(5):
        intake.add_decision(row(at_s=20.0))
    assert len(intake.rows) == 3 + 2


def test_what_exceeds_the_rate_is_counted_by_its_kind(path: Path) -> None:
    minute = NOW_S // 60 * 60
    with opened(path, decisions_per_s=2.0) as store:
        for number in range(10):
            store.add_decision(row(f"d{number}", minute, input_tokens=3, output_tokens=4, cost_usd=0.5))
        for number in range(10):
            store.add_decision(row(f"e{number}", minute + 60, model="other"))
        assert store.flush()
        assert store.counters.rows_written == 4
        assert store.counters.rows_counted == 16
        for number in range(3):
            store.add_decision(row(f"late {number}", minute))
        assert store.flush()
        first, second = tallies(path)
    assert first[:6] == (minute, "coding", "m", "n", "success", 8 + 1)
    assert first[6:] == (pytest.approx(4.5), 24, 32, pytest.approx(4.0))
    assert second[:6] == (minute + 60, "coding", "other", "n", "success", 8)


def test_special_decisions_are_stored_whatever_the_rate(path: Path) -> None:
    with opened(path, decisions_per_s=0.0) as store:
        for number in range(500):
            store.add_decision(row(f"d{number}"))
            store.add_decision(row(f"s{number}", is_special=True, outcome="timeout"))
        assert store.flush()
        assert {one.id for one in store.decisions(2000)} == {f"s{number}" for number in range(500)}
        assert store.counters.rows_counted == 500


def test_beyond_the_queue_rows_are_counted_as_lost_and_still_tallied() -> None:
    intake = Intake(0.0, max_rows=10)
    for _ in range(25):
        intake.add_decision(row(is_special=True))
    assert len(intake.rows) == 10
    assert intake.dropped == len(intake.tallies) == 15


def test_metrics_are_kept_beside_each_other(path: Path) -> None:
    with opened(path) as store:
        for number in range(3):
            store.add_metrics({"requests": number}, NOW_S + number)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT at_s FROM metrics").fetchall() == [(NOW_S,), (NOW_S + 1,), (NOW_S + 2,)]


def test_nonsense_told_by_a_node_is_no_trouble(path: Path) -> None:
    with opened(path, decisions_per_s=1.0) as store:
        store.add_decision(row("d1", input_tokens=10**30, output_tokens=-1))
        store.add_decision(row("d2", input_tokens=10**30, output_tokens=-1))
        assert store.flush()
        (one,) = store.decisions()
        assert (one.id, one.input_tokens, one.output_tokens) == ("d1", 10**12, 0)


def test_only_this_user_may_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.db"
    with opened(path) as store:
        store.save("x", 1)
        assert store.flush()
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
        assert set(modes) == {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"}
        assert set(modes.values()) == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with opened(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_closing_leaves_one_file_and_can_be_repeated(path: Path) -> None:
    with opened(path) as store:
        store.save("x", 1)
        store.close()
        store.save("too late", 1)
        assert not store.flush()
    assert sorted(one.name for one in path.parent.iterdir()) == ["state.db", "state.db.lock"]


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path))
    assert default_path(8400) == tmp_path / "state-8400.db"
    monkeypatch.delenv("FAIRLEAD_STATE")
    assert default_path(1).name == "state-1.db"
    assert "fairlead" in str(default_path(1).parent)
