"""Every row of the catalogue of faults, over real sockets: both dialects on both sides, streamed and in one piece."""

import asyncio
from collections.abc import Iterator

import pytest
from gateway_faults_shared import CUT_SHORT, HANGING, Case, case, wrong_with
from gateway_shared import CHAT, O_CHAT, run, times, until

from fairlead.health import Circuit
from fairlead.testing.answers import Continues, FakeDialect
from fairlead.testing.fates import Fate
from fairlead.testing.faults import FAULTS, ProviderFault, Right, Way

Asking = tuple[FakeDialect, str, bool, Way]
_TIGHT_TOTAL = times(connect_s=0.3, headers_s=0.3, first_token_s=0.3, idle_s=0.3, total_s=1.2)


def ways(fault: ProviderFault) -> Iterator[Asking]:
    """Yield how a fault can be met: the node's dialect, the caller's path, streamed or not, and what is right."""
    for kind in fault.dialects:
        for path in (CHAT, O_CHAT):
            for stream, way in ((True, fault.streamed), (False, fault.whole)):
                if way is not None:
                    yield kind, path, stream, way


def settle(fault: ProviderFault, *, stream: bool) -> dict[str, object]:
    is_endless = stream and fault.reply.fate is Fate.ENDLESS
    return {"timeouts": CUT_SHORT, "limits": _TIGHT_TOTAL} if is_endless else {}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_with_another_node_that_is_well(fault: ProviderFault) -> None:
    async def one(kind: FakeDialect, path: str, stream: bool, way: Way) -> None:
        async with case(fault, kind, helped=True, **settle(fault, stream=stream)) as it:
            answer = await it.ask(path, stream=stream)
            wrong = wrong_with(fault, way.helped, way, answer, path, stream=stream)
            assert not wrong, wrong
            assert it.good is not None
            if fault.pattern is not None:
                await ask_on(it, fault, path, way, stream=stream)
                assert it.good.attempts >= 1
                return
            if way.helped is Right.RESCUED and way.alone is not Right.RESCUED:
                asked = 2 if fault.rescuer in (Continues.REJECTS, Continues.RESTATES) else 1
                assert it.good.attempts == asked
                assert fault.is_gone or it.bad.attempts == 1, "it is not asked again while another can answer"
                if not (stream and fault.is_rescue):
                    assert answer.headers["x-fairlead-node"] == "good"
                    assert answer.headers["x-fairlead-attempts"] == "2"
            elif fault.times is not None:
                assert (it.bad.attempts, it.good.attempts) == (1, 1), "elsewhere first, and no wait"
            else:
                assert (it.bad.attempts, it.good.attempts) == (1, 0), "nobody else can do better"
            await until(lambda: not it.bad.answering)
            if fault.reply.fate in HANGING:
                assert it.bad.abandoned == it.bad.attempts, "its work is stopped"
            circuits = {name: state.breaker.state for name, state in it.running.orchestrator.fleet.nodes.items()}
            assert set(circuits.values()) == {Circuit.CLOSED}, "one failure opens nothing"

    run(all_of(fault, one))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_with_nobody_to_help(fault: ProviderFault) -> None:
    async def one(kind: FakeDialect, path: str, stream: bool, way: Way) -> None:
        async with case(fault, kind, helped=False, **settle(fault, stream=stream)) as it:
            answer = await it.ask(path, stream=stream)
            wrong = wrong_with(fault, way.alone, way, answer, path, stream=stream)
            assert not wrong, wrong
            if fault.pattern is not None:
                await ask_on(it, fault, path, way, stream=stream)
                assert it.bad.attempts > fault.calls
                return
            if fault.times is not None:
                assert it.bad.attempts == fault.times + 1
            elif way.alone is Right.RESCUED or way.helped is Right.SAME or fault.reply.fate is Fate.SILENT:
                assert it.bad.attempts == 1
            else:
                assert it.bad.attempts <= 3, "never a tight loop"
            if answer.status >= 400:
                assert answer.headers["x-fairlead-attempts"] == str(it.bad.attempts or 1)
            if answer.status == 429 and fault.reply.headers:
                assert int(answer.headers["retry-after"]) >= 1
            await until(lambda: not it.bad.answering)
            if fault.reply.fate in HANGING:
                assert it.bad.abandoned == it.bad.attempts

    run(all_of(fault, one))


async def ask_on(it: Case, fault: ProviderFault, path: str, way: Way, *, stream: bool) -> None:
    """Ask until a pattern has shown, and find every answer whole."""
    for _ in range(fault.calls - 1):
        wrong = wrong_with(fault, Right.RESCUED, way, await it.ask(path, stream=stream), path, stream=stream)
        assert not wrong, wrong


async def all_of(fault: ProviderFault, one) -> None:  # type: ignore[no-untyped-def]
    """Run all ways at once, and say of each that failed which it was."""
    asked = list(ways(fault))
    results = await asyncio.gather(*(one(*asking) for asking in asked), return_exceptions=True)
    wrong = [
        f"node {kind}, caller {path}, {'streamed' if stream else 'whole'}: {str(error)[:300]}"
        for (kind, path, stream, _), error in zip(asked, results, strict=True)
        if error is not None
    ]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
