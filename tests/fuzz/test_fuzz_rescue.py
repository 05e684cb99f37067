"""An answer that a second node finishes: however its bytes are cut, the caller reads the same, or an honest error."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_fuzz_decoders import GOOD, STREAMED, answer_to, check_events, event, mutated, pieces_of, relay_for, understood

from fairlead.dialects import Dialect
from fairlead.dialects.continued_relay import ContinuedRelay, RescueMode
from fairlead.dialects.kept import KeptAnswer
from fairlead.errors import FairleadError

SHORT = settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=20_000)


def kept_of(path: str, node: Dialect, share: float) -> KeptAnswer:
    """Return what went to the caller of a good answer that broke."""
    data = answer_to(path, node, is_streamed=True)
    kept = KeptAnswer(understood(path, GOOD[path]))
    kept.add(relay_for(path, node, GOOD[path]).feed(data[: int(len(data) * share)]))
    return kept


def finish(relay: ContinuedRelay, pieces: list[bytes]) -> tuple[bytes, str]:
    out, end = b"", "well"
    try:
        for piece in pieces:
            out += relay.feed(piece)
        out += relay.close()
    except FairleadError as error:
        end = type(error).__name__
    return out, end


@st.composite
def rescues(draw: st.DrawFn) -> tuple[Any, ...]:
    path, first, second = (
        draw(st.sampled_from(STREAMED)),
        draw(st.sampled_from(Dialect)),
        draw(st.sampled_from(Dialect)),
    )
    real = answer_to(path, second, is_streamed=True)
    data = draw(st.one_of(st.just(real), mutated(real), st.lists(event(second), max_size=5).map(b"".join)))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return path, first, second, draw(st.floats(0, 0.7)), draw(st.sampled_from(RescueMode)), data, cuts


def check(
    path: str, first: Dialect, second: Dialect, share: float, mode: RescueMode, data: bytes, cuts: list[int]
) -> None:
    kept = kept_of(path, first, share)
    if kept.why_not is not None:
        return
    ways = ([data], pieces_of(data, cuts), [data[at : at + 1] for at in range(len(data))])
    whole, *others = [
        finish(ContinuedRelay(relay_for(path, second, GOOD[path]), kept, mode, {"node": "b"}), way) for way in ways
    ]
    for out, end in (whole, *others):
        check_events(path, out)
        assert end == whole[1]
        assert out == whole[0] or (end != "well" and others[-1][0].startswith(out))


@SHORT
@given(rescues())
def test_rescued_answers(rescue: tuple[Any, ...]) -> None:
    check(*rescue)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(rescues())
def test_many_rescued_answers(rescue: tuple[Any, ...]) -> None:
    check(*rescue)
