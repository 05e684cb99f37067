"""A request that hands the beginning of an answer to another node, as that node reads it."""

import json
from typing import Any

import pytest
from dialects_rescue_shared import asked
from dialects_shared import COMPLETION, EMBEDDING, HI, OLLAMA, OPENAI, call
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, node_request
from fairlead.dialects.continuing import can_continue, continued, handed_over
from fairlead.domain.rescue import Continuation
from fairlead.errors import BadRequestError

TRAILING, FINAL, PREFIX = Continuation.TRAILING, Continuation.CONTINUE_FINAL, Continuation.PREFIX
KEPT = "It was a dark"
BEGUN: dict[str, Any] = {"role": "assistant", "content": "Once: "}


def sent(caller: Call, node: Dialect, how: Continuation = TRAILING, kept: str = KEPT) -> Any:
    """What the node reads."""
    return json.loads(node_request(continued(caller, kept, how), "its-name", node).body)


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
@pytest.mark.parametrize("how", [TRAILING, FINAL, PREFIX])
def test_a_chat_ends_with_what_was_said(asker: Dialect, node: Dialect, how: Continuation) -> None:
    body = sent(asked(asker), node, how)
    last = body["messages"][-1]
    assert body["messages"][:-1] == [HI]
    assert (last["role"], last["content"]) == ("assistant", KEPT)
    assert last.get("prefix") is (True if how is PREFIX else None)
    asks = (body.get("continue_final_message"), body.get("add_generation_prompt"))
    assert asks == ((True, False) if how is FINAL else (None, None))


@pytest.mark.parametrize("content", ["Once: ", [{"type": "text", "text": "Once: "}]])
@pytest.mark.parametrize("how", [TRAILING, FINAL])
def test_what_the_caller_began_is_made_longer(content: Any, how: Continuation) -> None:
    caller = asked(OPENAI, messages=[HI, BEGUN | {"content": content, "name": "x"}])
    assert sent(caller, OPENAI, how)["messages"][1:] == [BEGUN | {"content": "Once: " + KEPT, "name": "x"}]


@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
@pytest.mark.parametrize(
    "caller", [asked(OPENAI, COMPLETION), asked(OPENAI, COMPLETION, prompt=["Once"]), asked(OLLAMA, COMPLETION)]
)
def test_a_completions_prompt_is_made_longer(caller: Call, node: Dialect) -> None:
    body = sent(caller, node, Continuation.NONE, " upon ")
    assert body["prompt"] == "Once upon "
    assert node == OPENAI or body["raw"] is True


def test_nothing_that_a_template_may_strip_is_given_away() -> None:
    assert sent(asked(OPENAI), OPENAI, FINAL, "One.\n\n")["messages"][-1]["content"] == "One."
    assert sent(asked(OPENAI), OPENAI, TRAILING, "One.\n\n")["messages"][-1]["content"] == "One."
    assert handed_over(asked(OPENAI, COMPLETION), "One.\n\n") == "One.\n\n"


@pytest.mark.parametrize("how", [TRAILING, FINAL, PREFIX])
def test_where_nothing_was_said_nothing_is_added(how: Continuation) -> None:
    assert sent(asked(OPENAI), OPENAI, how, "")["messages"] == [HI]


@pytest.mark.parametrize(
    ("caller", "how"),
    [
        (asked(OPENAI), Continuation.NONE),
        (asked(OPENAI), Continuation.PROBE),
        (asked(OPENAI, messages=[HI, BEGUN]), PREFIX),
        (asked(OPENAI, messages=[]), TRAILING),
        (asked(OPENAI, messages=[HI, BEGUN | {"tool_calls": [{"id": "c"}]}]), TRAILING),
        (asked(OPENAI, messages=[HI, BEGUN | {"content": [{"type": "text", "text": "a"}] * 2}]), TRAILING),
        (asked(OPENAI, COMPLETION, prompt=[1, 2]), TRAILING),
        (asked(OPENAI, COMPLETION, prompt=["a", "b"]), TRAILING),
        (asked(OLLAMA, COMPLETION, raw=False), TRAILING),
        (call(OPENAI, EMBEDDING), TRAILING),
    ],
)
def test_what_cannot_be_continued_is_refused(caller: Call, how: Continuation) -> None:
    assert not can_continue(caller, how)
    with pytest.raises(BadRequestError):
        continued(caller, KEPT, how)


def test_a_body_that_cannot_be_read_is_the_callers_fault() -> None:
    caller = asked(OPENAI)
    caller.body = b"{"
    with pytest.raises(BadRequestError):
        continued(caller, KEPT, TRAILING)


@pytest.mark.parametrize(("said", "left"), [(0, 10), (4, 6), (10, 1), (99, 1)])
def test_the_limit_counts_the_whole_answer(said: int, left: int) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        limits: dict[str, Any] = {name: 10}
        again = continued(asked(OPENAI, **limits), KEPT, TRAILING, said)
        assert (json.loads(again.body)[name], again.max_output_tokens) == (left, left)
    again = continued(asked(OLLAMA, options={"num_predict": 10, "seed": 3}), KEPT, TRAILING, said)
    assert json.loads(again.body)["options"] == {"num_predict": left, "seed": 3}
    assert again.max_output_tokens == left


def test_no_limit_stays_none() -> None:
    again = continued(asked(OLLAMA, options={"num_predict": -1}), KEPT, TRAILING, 4)
    assert (json.loads(again.body)["options"], again.max_output_tokens) == ({"num_predict": -1}, None)
    assert "max_tokens" not in json.loads(continued(asked(OPENAI), KEPT, TRAILING, 4).body)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4))
def test_a_second_rescue_hands_over_the_same_as_one(begun: str, pieces: list[str]) -> None:
    caller = asked(OPENAI, messages=[HI, BEGUN | {"content": begun}])
    step = caller
    for piece in pieces:
        step = continued(step, piece, TRAILING)
    assert sent(caller, OPENAI, kept="".join(pieces)) == json.loads(node_request(step, "its-name", OPENAI).body)
