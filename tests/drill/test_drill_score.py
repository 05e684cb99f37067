"""What a caller of a drill sees and how it is judged: against servers that answer well, badly, or lie."""

import asyncio
import json

import pytest

from fairlead.drill.caller import Seen, call
from fairlead.drill.score import Verdict, judged
from fairlead.testing.answers import numbered
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.faults import FAULTS, ProviderFault, Right, Way
from fairlead.testing.provider import FakeProvider

SAY = numbered(12)
ANSWER = SAY("hello")


def seen_of(reply: Reply, *, stream: bool, limit_s: float = 5.0) -> Seen:
    """Return what a caller sees of a server that stands where the gateway should be."""

    async def main() -> Seen:
        async with FakeProvider(default=reply, says=SAY) as server:
            return await call(server.port, "m", "hello", limit_s, stream=stream)

    return asyncio.run(main())


def verdict(seen: Seen, fault: ProviderFault = FAULTS["cut"], right: Right = Right.RESCUED) -> tuple[Verdict, str]:
    return judged(fault, right, fault.streamed or Way(), seen, ANSWER, "as it should")


@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_answer_is_one(stream: bool) -> None:
    seen = seen_of(Reply(), stream=stream)
    assert (seen.status, seen.text, seen.is_done, seen.is_whole, seen.error) == (200, ANSWER, True, True, "")
    assert (seen.first_s is not None) is stream
    assert verdict(seen) == (Verdict.RESCUED, "as it should")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(fate=Fate.CUT), "silent end"),
        (Reply(fate=Fate.CUT_RESET), "silent end"),
        (Reply(fate=Fate.HALF_CLOSED), "silent end"),
        (Reply(fate=Fate.RESET), "no answer"),
        (Reply(fate=Fate.NOT_HTTP), "no answer"),
        (Reply(fate=Fate.SILENT), "no answer"),
        (Reply(text="1.other words"), "wrong answer"),
        (Reply(status=503, body=b"no json"), "bare 503"),
    ],
)
def test_whatever_is_neither_an_answer_nor_an_error_fails(reply: Reply, says: str, stream: bool) -> None:
    limit_s = 0.3 if reply.fate in (Fate.SILENT, Fate.NOT_HTTP, Fate.HALF_CLOSED) else 5.0
    assert verdict(seen_of(reply, stream=stream, limit_s=limit_s)) == (Verdict.FAILED, says)


def test_a_stream_without_its_end_mark_fails_and_one_that_tells_of_an_error_is_clean() -> None:
    assert verdict(seen_of(Reply(fate=Fate.NO_DONE), stream=True)) == (Verdict.FAILED, "silent end")
    assert verdict(seen_of(Reply(fate=Fate.ERROR_EVENT), stream=True)) == (Verdict.CLEAN, "error event")


def test_the_providers_own_reason_has_to_reach_the_caller() -> None:
    fault = FAULTS["content_filter"]
    assert fault.streamed is not None
    told = seen_of(fault.reply, stream=True)
    assert verdict(told, fault, Right.SAME) == (Verdict.CLEAN, "400")
    other = seen_of(Reply(status=400), stream=True)
    assert verdict(other, fault, Right.SAME) == (Verdict.FAILED, "reason lost")
    assert verdict(seen_of(Reply(), stream=True), fault, Right.SAME) == (Verdict.FAILED, "asked on")
    longer = FAULTS["context_openai"]
    assert verdict(seen_of(Reply(), stream=True), longer, Right.SAME)[0] is Verdict.RESCUED, "by a longer context"
    ended = FAULTS["filtered_answer"]
    assert verdict(seen_of(ended.reply, stream=True), ended, Right.SAME) == (Verdict.CLEAN, "reason told")
    assert verdict(seen_of(Reply(), stream=True), ended, Right.SAME) == (Verdict.FAILED, "reason lost")


def test_an_error_after_the_mark_of_a_complete_answer_is_none() -> None:
    seen = seen_of(Reply(), stream=True)
    seen.error = "too late"
    assert verdict(seen)[0] is Verdict.FAILED


def test_every_row_of_the_catalogue_says_what_it_has_to() -> None:
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert len(fault.does) <= 27, "it fits a narrow terminal"
        assert fault.streamed is not None or fault.whole is not None
        for way in filter(None, (fault.streamed, fault.whole)):
            assert way.alone is not Right.SAME or fault.reason
            if way.status is not None and way.alone is Right.SAME:
                assert fault.reply.status == way.status
        if fault.reply.body is not None:
            json.loads(fault.reply.body)
