"""An answer that another node finishes: whatever was said, wherever it broke, the caller reads one unbroken answer."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from dialects_rescue_shared import (
    DIALECTS,
    OPERATIONS,
    PIECES,
    asked,
    break_off,
    cut_up,
    node_stream,
    read,
    relay_of,
)
from dialects_shared import CHAT, COMPLETION, DONE, OLLAMA, OPENAI, chunk, event, events, line, lines, said
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, ErrorInfo, Operation, Usage
from fairlead.dialects.continued_relay import ContinuedRelay, DivergedError, RescueMode
from fairlead.dialects.continuing import handed_over
from fairlead.dialects.kept import KeptAnswer
from fairlead.domain.rescue import Continuation
from fairlead.errors import FairleadError, MalformedAnswerError

law = settings(derandomize=True, deadline=None)
CONTINUE, SPLICE, RESTART = RescueMode
HOWS = st.sampled_from([Continuation.TRAILING, Continuation.CONTINUE_FINAL, Continuation.PREFIX])
SIZES = st.lists(st.integers(1, 300), max_size=4)
NOTE = {"node": "second"}


def finish(relay: ContinuedRelay, data: bytes, sizes: Sequence[int] = ()) -> bytes:
    return b"".join(relay.feed(piece) for piece in cut_up(data, sizes)) + relay.close()


def second(
    kept: KeptAnswer, node: Dialect, mode: RescueMode, how: Continuation = Continuation.TRAILING
) -> ContinuedRelay:
    return ContinuedRelay(relay_of(kept.call, node, "second"), kept, mode, NOTE, said_tokens=2)


def answer(node: Dialect, operation: Operation, *texts: str) -> bytes:
    return b"".join(node_stream(node, operation, "second", texts))


def cut_text(text: str, places: Sequence[int]) -> list[str]:
    """The same text in other pieces."""
    at = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[i:j] for i, j in pairwise(at)]


PLACES = st.lists(st.integers(0, 40), max_size=5)
RESCUES = st.sampled_from(list(RescueMode))


# --- laws


@law
@given(DIALECTS, DIALECTS, DIALECTS, OPERATIONS, HOWS, PIECES, st.data())
def test_a_continued_answer_reads_as_one(
    asker: Dialect,
    first: Dialect,
    node: Dialect,
    operation: Operation,
    how: Continuation,
    texts: list[str],
    data: st.DataObject,
) -> None:
    caller = asked(asker, operation)
    broken = data.draw(st.integers(1, len(texts)))
    whole, said = "".join(texts), "".join(texts[:broken])
    kept, before = break_off(caller, first, texts[:broken])
    assert (kept.text, kept.why_not) == (said, None)
    given = handed_over(caller, said)
    rest = whole[len(given) :]
    assume(operation is COMPLETION or not given or not rest.startswith(said))
    stream = answer(node, operation, *cut_text(rest, data.draw(PLACES)))
    after = finish(second(kept, node, CONTINUE, how), stream, data.draw(SIZES))
    text, end = read(caller, before + after)
    assert text == whole
    assert end["fairlead"] == {"rescued": True, "how": "continued", "node": "second"}


@law
@given(DIALECTS, DIALECTS, DIALECTS, OPERATIONS, PIECES, PIECES, st.data())
def test_a_spliced_answer_reads_as_one_or_is_an_error(
    asker: Dialect,
    first: Dialect,
    node: Dialect,
    operation: Operation,
    texts: list[str],
    others: list[str],
    data: st.DataObject,
) -> None:
    caller = asked(asker, operation)
    broken = data.draw(st.integers(0, len(texts)))
    said = "".join(texts[:broken])
    other = data.draw(st.sampled_from(["".join(texts), said, said + "".join(others), "".join(others), said[:-1]]))
    kept, before = break_off(caller, first, texts[:broken])
    relay = second(kept, node, SPLICE)
    stream = answer(node, operation, *cut_text(other, data.draw(PLACES)))
    if not other.startswith(said):
        with pytest.raises(DivergedError):
            finish(relay, stream, data.draw(SIZES))
        return
    after = finish(relay, stream, data.draw(SIZES))
    if broken == 0 and first == OLLAMA:
        return  # nothing was told yet, so there is nothing to join
    text, end = read(caller, before + after)
    assert text == other
    assert end["fairlead"]["how"] == "spliced"


@law
@given(DIALECTS, DIALECTS, OPERATIONS, PIECES, PIECES, SIZES)
def test_a_restarted_answer_counts_from_its_mark(
    asker: Dialect, node: Dialect, operation: Operation, texts: list[str], others: list[str], sizes: list[int]
) -> None:
    caller = asked(asker, operation)
    kept, before = break_off(caller, node, texts)
    after = finish(second(kept, node, RESTART), answer(node, operation, *others), sizes)
    told = (events if asker == OPENAI else lines)(after)
    assert told[0]["fairlead"] == {"restarted": True}
    text, end = read(caller, before + after)
    assert text == "".join(texts + others)
    assert end["fairlead"]["how"] == "restarted"


@law
@given(DIALECTS, DIALECTS, OPERATIONS, PIECES, st.lists(RESCUES, min_size=2, max_size=4))
def test_a_rescue_that_breaks_is_rescued_again(
    asker: Dialect, node: Dialect, operation: Operation, texts: list[str], modes: list[RescueMode]
) -> None:
    caller = asked(asker, operation)
    kept, out = break_off(caller, node, texts)
    said = "".join(texts)
    for turn, mode in enumerate(modes):
        more = f"<{turn}>"
        says = {CONTINUE: [more], SPLICE: [said, more], RESTART: [more]}[mode]
        said = more if mode is RESTART else said + more
        relay = second(kept, node, mode)
        for piece in node_stream(node, operation, f"other-{turn}", says, ends=False):
            went = relay.feed(piece)
            kept.add(went)
            out += went
        assert (kept.text, kept.why_not) == (said, None)
    out += finish(second(kept, node, CONTINUE), answer(node, operation, "!"))
    text, _ = read(caller, out)
    assert text.endswith(said + "!")


@law
@given(
    DIALECTS,
    DIALECTS,
    OPERATIONS,
    RESCUES,
    PIECES,
    st.lists(
        st.binary(max_size=80)
        | st.sampled_from(
            [
                b"\n\n",
                b"data: ",
                b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}',
                b"data: [DONE]\n\n",
                b'{"message":{"content":"a"},"done":false}\n',
                b'{"response":"a","done":true}\n',
                b'{"choices":[{}]}',
                b'{"finish_reason":null,"choices":[{"index":1e999}]}',
                b'"done":false',
                b"{",
                b"\xff",
                b'data: {"x":"\\ud800",',
            ]
        ),
        max_size=8,
    ),
)
def test_whatever_a_second_node_sends_only_our_errors_come_out(
    asker: Dialect, node: Dialect, operation: Operation, mode: RescueMode, texts: list[str], rubbish: list[bytes]
) -> None:
    kept, _ = break_off(asked(asker, operation), node, texts)
    relay = second(kept, node, mode)
    try:
        out = b"".join(relay.feed(piece) for piece in [*node_stream(node, operation, "x", (), ends=False), *rubbish])
        out += relay.close()
    except FairleadError:
        return
    (events if asker == OPENAI else lines)(out)


# --- the habits of servers


@pytest.fixture
def caller() -> Call:
    return asked(OPENAI)


LONG = "It was a dark and stormy night"


def test_a_part_of_it_that_is_said_again_is_text(caller: Call) -> None:
    kept, before = break_off(caller, OPENAI, [LONG])
    out = finish(second(kept, OPENAI, CONTINUE), answer(OPENAI, CHAT, "It was", " a dark", " joke"))
    assert read(caller, before + out)[0] == LONG + "It was a dark joke"
    out = finish(second(kept, OPENAI, CONTINUE), answer(OPENAI, CHAT, "It was", " a dark"))
    assert read(caller, before + out)[0] == LONG + "It was a dark"


@pytest.mark.parametrize("said", ["ha", "no, no, no, no, no, no, ", LONG])
def test_what_a_model_may_well_say_twice_is_not_guessed_at(caller: Call, said: str) -> None:
    kept, _ = break_off(caller, OPENAI, [said])
    with pytest.raises(DivergedError):
        finish(second(kept, OPENAI, CONTINUE), answer(OPENAI, CHAT, said, "!"))


def test_a_completion_is_never_taken_for_a_repetition() -> None:
    caller = asked(OPENAI, COMPLETION)
    kept, before = break_off(caller, OPENAI, [LONG])
    out = finish(second(kept, OPENAI, CONTINUE), answer(OPENAI, COMPLETION, LONG))
    assert read(caller, before + out)[0] == LONG * 2


@pytest.mark.parametrize("how", [Continuation.CONTINUE_FINAL, Continuation.PREFIX])
def test_blanks_that_a_template_may_strip_have_to_come_again(caller: Call, how: Continuation) -> None:
    kept, before = break_off(caller, OPENAI, ["One.", "\n\n"])
    out = finish(second(kept, OPENAI, CONTINUE, how), answer(OPENAI, CHAT, "\n", "\nTwo."))
    assert read(caller, before + out)[0] == "One.\n\nTwo."
    with pytest.raises(DivergedError):
        finish(second(kept, OPENAI, CONTINUE, how), answer(OPENAI, CHAT, "Two."))
    with pytest.raises(DivergedError):
        finish(second(kept, OPENAI, CONTINUE, how), answer(OPENAI, CHAT))


def test_a_node_that_was_given_nothing_repeats_nothing(caller: Call) -> None:
    kept, before = break_off(caller, OPENAI, ["\n\n"])
    out = finish(second(kept, OPENAI, CONTINUE, Continuation.PREFIX), answer(OPENAI, CHAT, "\n\nOne."))
    assert read(caller, before + out)[0] == "\n\nOne."


@pytest.mark.parametrize(
    "delta", [{"tool_calls": [{"index": 0, "function": {"name": "f"}}]}, {"reasoning_content": "hm"}, {"refusal": "no"}]
)
def test_more_than_text_cannot_go_on_from_text(caller: Call, delta: dict[str, object]) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    with pytest.raises(MalformedAnswerError):
        second(kept, OPENAI, CONTINUE).feed(event(chunk(delta)))
    with pytest.raises(DivergedError):
        second(kept, OPENAI, SPLICE).feed(event(chunk(delta)))


def test_a_tool_call_after_the_seam_is_the_second_nodes_own_answer(caller: Call) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    relay = second(kept, OPENAI, SPLICE)
    assert relay.feed(event(chunk({"content": LONG}))) == b""
    called = event(chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}))
    assert b'"tool_calls"' in relay.feed(called)
    kept.add(relay.feed(called))
    assert kept.why_not == "it holds a tool call"


@pytest.mark.parametrize("more", ["", "!"])
def test_text_in_the_last_event_is_joined_like_any_other(caller: Call, more: str) -> None:
    kept, before = break_off(caller, OPENAI, [LONG])
    last = event(chunk({"content": LONG + more}, "stop")) + event(chunk(None, usage={"prompt_tokens": 1})) + DONE
    assert read(caller, before + finish(second(kept, OPENAI, SPLICE), last))[0] == LONG + more


def test_text_that_was_held_back_goes_out_with_a_bare_last_line() -> None:
    kept, _ = break_off(asked(OLLAMA), OLLAMA, [LONG])
    out = lines(finish(second(kept, OLLAMA, CONTINUE), said("It was") + line(done=True, done_reason="stop")))
    assert [each["message"]["content"] for each in out] == ["It was"]


@pytest.mark.parametrize("rubbish", [b'"\xff"', b'"\\udc00"', b"1e999"])
def test_rubbish_beside_the_text_is_malformed(caller: Call, rubbish: bytes) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"x":' + rubbish + b"}\n\n"
    with pytest.raises(MalformedAnswerError):
        second(kept, OPENAI, CONTINUE).feed(piece)


@pytest.mark.parametrize("deep", [500, 100_000])
def test_an_event_that_is_nested_deeply_passes_or_is_malformed(caller: Call, deep: int) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"x":'
    relay = second(kept, OPENAI, CONTINUE)
    with suppress(MalformedAnswerError):
        assert len(events(relay.feed(piece + b"[" * deep + b"]" * deep + b"}\n\n"))) <= 1


def test_a_node_without_a_finish_reason_still_leaves_its_note(caller: Call) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    out = events(finish(second(kept, OPENAI, CONTINUE), event(chunk({"content": "It"})) + DONE))
    assert [e["choices"][0]["delta"] for e in out if e != "[DONE]" and e["choices"]] == [{"content": "It"}]
    assert [e["fairlead"]["node"] for e in out if "fairlead" in e] == ["second"]
    assert out[-1] == "[DONE]"


def test_a_broken_rescue_is_a_failure_like_any_other(caller: Call) -> None:
    kept, _ = break_off(caller, OPENAI, [LONG])
    relay = second(kept, OPENAI, CONTINUE)
    relay.feed(event(chunk({"content": "; the"})))
    assert not relay.finished
    with pytest.raises(MalformedAnswerError):
        relay.close()
    assert b"gone" in relay.fail(ErrorInfo(502, "gone"))


# --- what is counted


def test_a_continued_answer_counts_as_if_one_node_had_said_it(caller: Call) -> None:
    kept, before = break_off(caller, OPENAI, [LONG])
    relay = second(kept, OPENAI, CONTINUE)
    early = relay.usage
    assert early is None
    _, end = read(caller, before + finish(relay, answer(OPENAI, CHAT, "; the rain")))
    assert relay.usage == Usage(18, 7, estimated=True)
    assert end["usage"] == {"prompt_tokens": 18, "completion_tokens": 7, "total_tokens": 25}


def test_counts_reach_an_ollama_caller_too() -> None:
    caller = asked(OLLAMA)
    kept, before = break_off(caller, OLLAMA, [LONG])
    _, end = read(caller, before + finish(second(kept, OPENAI, CONTINUE), answer(OPENAI, CHAT, "; the rain")))
    assert (end["prompt_eval_count"], end["eval_count"]) == (18, 7)


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
def test_a_node_that_counts_nothing_is_counted(asker: Dialect) -> None:
    caller = asked(asker)
    kept, _ = break_off(caller, OLLAMA, [LONG])
    relay = second(kept, OLLAMA, CONTINUE)
    said = [line(message={"content": text}, done=False) for text in (";", " the")]
    finish(relay, b"".join([*said, line(message={"content": ""}, done=True, done_reason="stop")]))
    assert relay.usage == Usage(len(caller.body) // 4, 4, estimated=True)


def test_a_spliced_answer_counts_as_the_second_node_says(caller: Call) -> None:
    kept, before = break_off(caller, OPENAI, [LONG])
    relay = second(kept, OPENAI, SPLICE)
    _, end = read(caller, before + finish(relay, answer(OPENAI, CHAT, LONG, "; the rain")))
    assert relay.usage == Usage(20, 5)
    assert end["usage"]["completion_tokens"] == 5
