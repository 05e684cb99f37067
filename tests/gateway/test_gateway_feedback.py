"""What callers may wish for one request, and what they may say of an answer afterwards."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.domain import Task
from fairlead.errors import BadRequestError
from fairlead.gateway.feedback import MAX_COMMENT_LETTERS, PATH, Feedback, Given
from fairlead.gateway.guard import LOCAL_ADMIN, Caller
from fairlead.gateway.http import Request
from fairlead.gateway.wishes import WISH_HEADERS, WishReader
from fairlead.orchestrator.wishes import Wishes
from fairlead.routing import RoutingSettings
from fairlead.telemetry.decision_log import DecisionLog, DecisionRecord

ALICE = Caller("alice", "team", is_admin=False, max_cost_usd=None)
BOB = Caller("bob", "others", is_admin=False, max_cost_usd=None)
NOT_A_NUMBER = ("nan", "NaN", "-nan", "lots", "", "1_0", "0,5", "0x1", "½")


def wish(**headers: str) -> Wishes:
    lines = {f"x-fairlead-{name.replace('_', '-')}".encode(): value.encode() for name, value in headers.items()}
    assert set(lines) <= WISH_HEADERS
    return WishReader(RoutingSettings()).read(lines, ALICE)


class TestWishes:
    def test_what_is_wished(self) -> None:
        wishes = wish(quality="0.8", min_quality=" 0.25 ", max_latency_ms="1500")
        assert (wishes.quality, wishes.min_quality, wishes.max_latency_s) == (0.8, 0.25, 1.5)

    def test_nothing_is_wished_unasked(self) -> None:
        wishes = wish(category="coding")
        assert (wishes.quality, wishes.min_quality, wishes.max_latency_s) == (None, None, None)

    @pytest.mark.parametrize("name", ["quality", "min_quality"])
    def test_shares_take_both_ends_and_nothing_beyond(self, name: str) -> None:
        for value in ("0", "1", "1e-3", "0.5"):
            assert getattr(wish(**{name: value}), name) == float(value)
        for value in ("-0.1", "1.01", "80", "inf", "-inf", *NOT_A_NUMBER):
            with pytest.raises(BadRequestError) as caught:
                wish(**{name: value})
            header = f"x-fairlead-{name.replace('_', '-')}"
            assert str(caught.value).startswith(f"{header} must be a number from 0 to 1, not ")

    @pytest.mark.parametrize("name", ["max-latency-ms", "max-cost-usd", "deadline-ms"])
    def test_limits_are_above_nothing(self, name: str) -> None:
        for value in ("0", "-1", "inf", "1e400", *NOT_A_NUMBER):
            with pytest.raises(BadRequestError, match=f"^x-fairlead-{name} must be a number above 0, not "):
                wish(**{name: value})


class Heard:
    """A responder that keeps the answer."""

    on_gone: Callable[[], None] | None = None
    on_pressure: Callable[[bool], None] | None = None

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        del headers
        self.status = status
        self.said = json.loads(body)

    def begin(self, status: int, headers: bytes, first: bytes) -> None:
        raise AssertionError

    def write(self, data: bytes) -> None:
        raise AssertionError

    def end(self, trailers: bytes = b"") -> None:
        raise AssertionError

    def break_off(self) -> None:
        raise AssertionError


class School:
    """A decision log with one decision of alice's, and a learner that keeps its lessons."""

    def __init__(self, **more: Any) -> None:
        self.lessons: list[tuple[str, float, str, float | None]] = []
        self.log = DecisionLog()
        self.log.add(DecisionRecord(Task("d-1", 1), "team", 0.0, ()))
        self.feedback = Feedback(self.log.find, self.learn, **more)

    def learn(self, record: DecisionRecord, score: float, comment: str, previous: float | None) -> dict[str, Any]:
        self.lessons.append((record.task.id, score, comment, previous))
        return {"model": "coder", "category": "coding", "quality_before": 0.5, "quality_after": score}

    def hears(self, body: object, caller: Caller = ALICE) -> Heard:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        heard = Heard()
        self.feedback.routes()["POST", PATH](Request("POST", PATH, "", {}, data), heard, caller)
        return heard


class TestFeedback:
    @pytest.mark.parametrize(("said", "score"), [({"score": 0.8}, 0.8), ({"thumb": "up"}, 1.0), ({"thumb": "down"}, 0)])
    def test_it_teaches_and_tells_what_changed(self, said: dict[str, Any], score: float) -> None:
        school = School()
        heard = school.hears({"id": "d-1", "comment": "kürzer!", **said})
        assert heard.status == 200
        assert heard.said["id"] == "d-1"
        assert heard.said["score"] == score
        assert heard.said["learnt"] == {
            "model": "coder", "category": "coding", "quality_before": 0.5, "quality_after": score,
        }  # fmt: skip
        assert school.lessons == [("d-1", score, "kürzer!", None)]

    def test_only_whose_decision_it_is(self) -> None:
        school = School()
        for caller, decision_id in ((BOB, "d-1"), (ALICE, "d-2"), (LOCAL_ADMIN, "d-2")):
            heard = school.hears({"id": decision_id, "score": 1}, caller)
            assert heard.status == 404
            assert repr(decision_id) in heard.said["error"]["message"]
        assert school.lessons == []
        assert school.hears({"id": "d-1", "score": 1}, LOCAL_ADMIN).status == 200

    def test_a_repeated_request_counts_once(self) -> None:
        school = School()
        first = school.hears({"id": "d-1", "score": 1})
        again = school.hears({"id": "d-1", "thumb": "up", "replace": True})
        assert again.status == 200
        assert again.said == first.said | {"repeated": True}
        assert len(school.lessons) == 1

    def test_another_score_needs_a_word(self) -> None:
        school = School()
        school.hears({"id": "d-1", "score": 0.25})
        refused = school.hears({"id": "d-1", "score": 1})
        assert (refused.status, refused.said["error"]["code"]) == (409, "feedback_exists")
        assert "0.25" in refused.said["error"]["message"]
        assert len(school.lessons) == 1
        changed = school.hears({"id": "d-1", "score": 1, "replace": True})
        assert (changed.status, changed.said["replaced"]) == (200, 0.25)
        assert school.lessons[-1] == ("d-1", 1.0, "", 0.25)
        assert school.hears({"id": "d-1", "score": 0.25}).status == 409

    def test_what_was_said_before_a_restart_is_known(self) -> None:
        school = School(recall={"d-1": Given(0.5, "so so", {"model": "m"})}.get)
        assert school.hears({"id": "d-1", "score": 0.5}).said["learnt"] == {"model": "m"}
        assert school.hears({"id": "d-1", "score": 1}).status == 409
        assert school.hears({"id": "d-1", "score": 1, "replace": True}).said["replaced"] == 0.5
        assert [lesson[3] for lesson in school.lessons] == [0.5]

    def test_memory_is_bounded(self) -> None:
        school = School(remembered=3)
        for number in range(9):
            school.log.add(DecisionRecord(Task(f"n-{number}", 1), "team", 0.0, ()))
            school.hears({"id": f"n-{number}", "score": 1})
        assert len(school.feedback._given) == 3

    def test_where_nothing_can_be_learnt_nothing_is_kept(self) -> None:
        def learn(record: DecisionRecord, score: float, comment: str, previous: float | None) -> dict[str, Any]:
            raise BadRequestError("no model did this task")

        school = School()
        school.feedback = Feedback(school.log.find, learn)
        for _ in range(2):
            with pytest.raises(BadRequestError, match="no model"):
                school.hears({"id": "d-1", "score": 1})

    @pytest.mark.parametrize(
        ("body", "message", "param"),
        [
            (b'{"id": "d-1", "score": NaN}', "malformed", None),
            (b'{"id": "d-1", "score": 1e999}', "out of range", None),
            (b"", "truncated", None),
            (b"[]", "Expected `object`, got `array`", None),
            (b"\xff", "malformed", None),
            ({"id": "d-1", "score": 1.1}, "score must be a number from 0 to 1, not 1.1", "score"),
            ({"id": "d-1", "score": -0.001}, "score must be a number from 0 to 1", "score"),
            ({"id": "d-1", "score": 10**40}, "score must be a number from 0 to 1", "score"),
            ({"id": "d-1", "score": True}, "score must be a number from 0 to 1, not true", "score"),
            ({"id": "d-1", "score": "NaN"}, 'score must be a number from 0 to 1, not "NaN"', "score"),
            ({"id": "d-1", "score": None}, "score must be a number from 0 to 1, not null", "score"),
            ({"id": "d-1", "thumb": "sideways"}, 'thumb must be "up" or "down", not "sideways"', "thumb"),
            ({"id": "d-1", "thumb": []}, 'thumb must be "up" or "down", not []', "thumb"),
            ({"id": "d-1"}, "send one of score and thumb", "score"),
            ({"id": "d-1", "score": 1, "thumb": "up"}, "send one of score and thumb", "score"),
            ({"id": "d-1", "score": 1, "rating": 5}, "feedback has no key 'rating'; it has: id, score", "rating"),
            ({"score": 1}, "id must be the id of a decision", "id"),
            ({"id": 7, "score": 1}, "id must be the id of a decision", "id"),
            ({"id": "", "score": 1}, "id must be the id of a decision", "id"),
            ({"id": "d-1", "score": 1, "comment": 5}, "comment must be a text, not 5", "comment"),
            ({"id": "d-1", "score": 1, "comment": "x" * 2001}, "2000 characters at most, not 2001", "comment"),
            ({"id": "d-1", "score": 1, "replace": "yes"}, 'replace must be true or false, not "yes"', "replace"),
        ],
    )  # fmt: skip
    def test_what_makes_no_sense(self, body: object, message: str, param: str | None) -> None:
        school = School()
        with pytest.raises(BadRequestError) as caught:
            school.hears(body)
        assert message in str(caught.value)
        assert caught.value.param == param
        assert school.lessons == []

    def test_a_comment_may_be_long_or_none(self) -> None:
        for comment in ("x" * MAX_COMMENT_LETTERS, None, ""):
            assert School().hears({"id": "d-1", "score": 1, "comment": comment}).status == 200

    @given(
        st.dictionaries(
            st.sampled_from(["id", "score", "thumb", "comment", "replace", "x"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["d-1", "up", "x"]) | st.just([]),
        )
    )
    def test_whatever_is_said_a_lesson_is_a_score(self, body: dict[str, Any]) -> None:
        school = School()
        with contextlib.suppress(BadRequestError):
            assert school.hears(msgspec.json.encode(body)).status in (200, 404)
        assert all(0 <= score <= 1 and len(comment) <= 2000 for _, score, comment, _ in school.lessons)
