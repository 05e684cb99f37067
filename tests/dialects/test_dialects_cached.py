"""How many tokens of a prompt a node still had in its cache: through all four relays, whole and streamed."""

from typing import Any

import pytest
from dialects_shared import (
    COMPLETION,
    DONE,
    EMBEDDING,
    OLLAMA,
    OPENAI,
    call,
    chunk,
    dumps,
    event,
    events,
    last,
    line,
    relay_for,
    run,
    said,
)

from fairlead.dialects import Dialect, Relay, Usage

ROLE = event(chunk({"role": "assistant", "content": None}))
ONE = event(chunk({"content": "One"}))
STOP = event(chunk({}, "stop"))
TIMINGS = {"cache_n": 80, "prompt_n": 1, "predicted_n": 4, "prompt_ms": 1.9}
BOTH = pytest.mark.parametrize("caller", [OPENAI, OLLAMA])


def usage_of(cached: Any, prompt: int = 81) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": cached}}


def whole(caller: Dialect, **more: Any) -> Usage | None:
    """The usage of a whole answer of an OpenAI node."""
    relay = relay_for(call(caller, stream=False), OPENAI)
    choice = {"index": 0, "message": {"role": "assistant", "content": "One"}, "finish_reason": "stop"}
    relay.whole(dumps({"id": "1", "object": "chat.completion", "choices": [choice]} | more))
    return relay.usage


def streamed(caller: Dialect, *endings: bytes, **fields: Any) -> tuple[Relay, bytes]:
    """The relay of a streamed answer of an OpenAI node after its end, and what reached the caller."""
    relay = relay_for(call(caller, stream=True, **fields), OPENAI)
    return relay, run(relay, [ROLE, ONE, *endings, DONE])


@BOTH
def test_openais_details(caller: Dialect) -> None:
    assert whole(caller, usage=usage_of(80)) == Usage(81, 4, cached_tokens=80)
    assert whole(caller, usage=usage_of(0)) == Usage(81, 4, cached_tokens=0)
    relay, _ = streamed(caller, STOP, event(chunk(None, usage=usage_of(80))))
    assert relay.usage == Usage(81, 4, cached_tokens=80)


@BOTH
def test_llama_cpps_timings_tell_what_its_usage_does_not(caller: Dialect) -> None:
    bare = {"prompt_tokens": 81, "completion_tokens": 4}
    assert whole(caller, usage=bare, timings=TIMINGS) == Usage(81, 4, cached_tokens=80)
    assert whole(caller, usage=usage_of(7), timings=TIMINGS) == Usage(81, 4, cached_tokens=7)
    assert whole(caller, timings=TIMINGS) == Usage(81, 4, cached_tokens=80)
    relay, _ = streamed(caller, STOP, event(chunk(None, usage=bare, timings=TIMINGS)))
    assert relay.usage == Usage(81, 4, cached_tokens=80)


def test_a_stream_that_nobody_asked_the_usage_of_still_tells_by_its_timings() -> None:
    end = event(chunk({}, "stop", timings=TIMINGS))
    relay, out = streamed(OPENAI, end)
    assert relay.usage == Usage(81, 4, cached_tokens=80)
    assert out == ROLE + ONE + end + DONE


def test_who_asked_for_usage_gets_it_once_from_the_timings_where_the_node_sends_none() -> None:
    asking = {"stream_options": {"include_usage": True}}
    relay, out = streamed(OPENAI, event(chunk({}, "stop", timings=TIMINGS)), **asking)
    assert relay.usage == Usage(81, 4, cached_tokens=80)
    told = [one["usage"] for one in events(out)[:-1] if one.get("usage")]
    assert told == [{"prompt_tokens": 81, "completion_tokens": 4, "total_tokens": 85}]
    relay, out = streamed(
        OPENAI, event(chunk({}, "stop", timings=TIMINGS)), event(chunk(None, usage=usage_of(5, 90))), **asking
    )
    assert relay.usage == Usage(90, 4, cached_tokens=5)
    assert out.count(b'"usage"') == 1


def test_timings_after_the_usage_change_nothing() -> None:
    relay, _ = streamed(OPENAI, event(chunk({}, "stop", usage=usage_of(5, 90))), event(chunk(None, timings=TIMINGS)))
    assert relay.usage == Usage(90, 4, cached_tokens=5)


@BOTH
@pytest.mark.parametrize("cached", [None, "80", 80.0, True, -1, 82, {}, [80]])
def test_what_cannot_be_is_not_told_and_breaks_no_answer(caller: Dialect, cached: Any) -> None:
    assert whole(caller, usage=usage_of(cached)) == Usage(81, 4)
    relay, _ = streamed(caller, STOP, event(chunk(None, usage=usage_of(cached))))
    assert relay.usage == Usage(81, 4)
    if cached != 82:  # more than the prompt: that only shows beside a usage
        assert whole(caller, timings=TIMINGS | {"cache_n": cached}) is None


@BOTH
@pytest.mark.parametrize("odd", [None, 7, "x", [], [1], {}, {"cache_n": 3}])
def test_details_and_timings_of_another_shape_break_no_answer(caller: Dialect, odd: Any) -> None:
    bare = {"prompt_tokens": 81, "completion_tokens": 4}
    assert whole(caller, usage=bare | {"prompt_tokens_details": odd}, timings=odd) == Usage(81, 4)
    assert whole(caller, timings=odd) is None
    assert streamed(caller, event(chunk({}, "stop", timings=odd)))[0].usage is None


@pytest.mark.parametrize("caller", [OPENAI, OLLAMA])
@pytest.mark.parametrize("stream", [False, True])
def test_ollama_nodes_do_not_tell(caller: Dialect, stream: bool) -> None:
    relay = relay_for(call(caller, stream=stream), OLLAMA)
    if stream:
        run(relay, [said("One"), last()])
    else:
        counts = {"prompt_eval_count": 10, "eval_count": 6}
        relay.whole(line(message={"role": "assistant", "content": "One"}, done=True, done_reason="stop", **counts))
    assert relay.usage == Usage(10, 6, cached_tokens=None)


def test_completions_and_embeddings_tell_too() -> None:
    relay = relay_for(call(operation=COMPLETION), OPENAI)
    relay.whole(dumps({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "usage": usage_of(80)}))
    assert relay.usage == Usage(81, 4, cached_tokens=80)
    relay = relay_for(call(operation=EMBEDDING), OPENAI)
    relay.whole(dumps({"data": [{"index": 0, "embedding": [1.0]}], "usage": usage_of(80)}))
    assert relay.usage == Usage(81, 4, cached_tokens=80)
