"""A node that misbehaves, one that is well, limits of a fraction of a second, and what a caller may see of it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from gateway_shared import CHAT, O_CHAT, Answer, ask, chat, gateway, node, times

from fairlead.config import NodeConfig, Timeouts
from fairlead.domain.rescue import Continuation
from fairlead.gateway import RunningGateway
from fairlead.testing.answers import Continues, FakeDialect, numbered
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.faults import ProviderFault, Right, Way
from fairlead.testing.provider import FakeProvider

PROMPT = "tell me of the sea"
SAY = numbered(24)
ANSWER = SAY(PROMPT)
TIGHT = times(connect_s=10.0, headers_s=0.3, first_token_s=0.3, idle_s=0.3, total_s=0.6)
"""Of the node that misbehaves. The one that is well has all the time that a busy machine may take."""
PATIENT = times(connect_s=10.0, headers_s=10.0, first_token_s=10.0, idle_s=10.0, total_s=10.0)
CALM = times(connect_s=10.0, headers_s=10.0, first_token_s=10.0, idle_s=0.4, total_s=15.0)
"""Of one that begins to answer well."""
COMMON = Timeouts(connect_s=5.0, first_token_s=5.0, idle_s=5.0, total_s=10.0)
CUT_SHORT = Timeouts(connect_s=10.0, first_token_s=0.3, idle_s=0.3, total_s=1.2)
"""For answers that never end: nothing but the total stops them."""
HANGING = frozenset(
    (
        Fate.SILENT, Fate.HEAD_ONLY, Fate.STALL, Fate.DRIP, Fate.COMMENTS, Fate.ENDLESS, Fate.UNENDED, Fate.BAD_FRAMING,
        Fate.HALF_CLOSED, Fate.HEADER_FLOOD,
    )
)  # fmt: skip
"""A node that does this goes on until somebody hangs up."""
FAVOURITE = 1e9
"""A weight that makes a node the first choice under `random`."""


def provider(kind: FakeDialect = "openai", reply: Reply | None = None, **more: Any) -> FakeProvider:
    """Return a node that answers with numbered words."""
    return FakeProvider(kind, default=reply, says=SAY, **more)


def declared(continues: Continues) -> Continuation | None:
    """Return what a configuration says of a node; one that refuses or restates is declared wrongly."""
    return None if continues is Continues.IGNORES else Continuation.TRAILING


class Case(msgspec.Struct):
    """A gateway before a node that misbehaves, and perhaps one that is well."""

    running: RunningGateway
    bad: FakeProvider
    good: FakeProvider | None

    async def ask(self, path: str = CHAT, *, stream: bool, **more: Any) -> Answer:
        """Ask with the prompt whose answer is known."""
        return await ask(self.running, path, chat(PROMPT, stream=stream), **more)


@asynccontextmanager
async def case(
    fault: ProviderFault, kind: FakeDialect, *, helped: bool, limits: Any = TIGHT, **more: Any
) -> AsyncIterator[Case]:
    """Run a gateway whose first choice misbehaves."""
    async with AsyncExitStack() as stack:
        bad = provider(kind)
        good = await stack.enter_async_context(provider(kind, continues=fault.rescuer)) if helped else None
        if fault.is_gone:
            await bad.refuse()
            stack.push_async_callback(bad.stop)
        else:
            bad.choose = fault.chooser()
            await stack.enter_async_context(bad)
        if limits is TIGHT and fault.reply.fate not in HANGING and not fault.reply.late_s:
            limits = PATIENT  # a machine that stands still for a moment must not look like the fault
        nodes: list[NodeConfig] = [node(bad, "bad", weight=FAVOURITE, timeouts=limits)]
        if good is not None:
            nodes.append(node(good, "good", timeouts=PATIENT, continuation=declared(fault.rescuer)))
        settings = {"strategy": "random", "timeouts": COMMON} | more
        running = await stack.enter_async_context(gateway(*nodes, **settings))
        yield Case(running, bad, good)


def is_complete(answer: Answer, path: str, *, stream: bool) -> bool:
    """Tell whether an answer has the mark of a complete one."""
    if not answer.is_whole or answer.status != 200:
        return False
    if not stream:
        return True
    return bool(answer.events[-1] == "[DONE]" if path == CHAT else answer.lines[-1].get("done") is True)


def error_of(answer: Answer, path: str) -> str:
    """Return what an error in the caller's dialect says, which must look as that dialect writes it; empty: none."""
    last = answer.body if answer.status != 200 else answer.body.strip().splitlines()[-1].removeprefix(b"data: ")
    try:
        told = json.loads(last)
    except ValueError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    if path == O_CHAT:
        return error if isinstance(error, str) else ""
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return ""
    return str(error["message"])


def wrong_with(fault: ProviderFault, right: Right, way: Way, answer: Answer, path: str, *, stream: bool) -> str:
    """Say what a caller sees that is not right; empty: nothing."""
    if path == CHAT and stream:  # comments are no words of the answer
        lines = answer.body.split(b"\n\n")
        answer.body = b"\n\n".join(line for line in lines if not line.startswith(b":"))
    if path == O_CHAT and b"\n\n" in answer.body:
        return "blank lines, which no client of Ollama reads"
    is_done = is_complete(answer, path, stream=stream)
    if right is Right.RESCUED or fault.reply.finish_reason != "stop":
        if not is_done or answer.text != ANSWER:
            return f"no complete answer: {answer.status} {answer.is_whole=} ...{answer.body[-200:]!r}"
        missing = right is Right.SAME and path == CHAT and fault.reason.encode() not in answer.body
        return f"{fault.reason} is not told" if missing else ""
    if is_done:
        return f"looks like a complete answer: {answer.status} ...{answer.body[-200:]!r}"
    if answer.status != (way.status or 200):
        return f"status {answer.status} and not {way.status or 200}: ...{answer.body[-200:]!r}"
    message = error_of(answer, path)
    if not message or (right is Right.SAME and fault.reason not in message):
        return f"not the error that is right: ...{answer.body[-200:]!r}"
    if answer.status == 200 and (b"[DONE]" in answer.body or b'"done":true' in answer.body):
        return "the mark of a complete answer in one that broke"
    if answer.status == 200 and not ANSWER.startswith(said(answer)) and fault.reply.fate is not Fate.ENDLESS:
        return f"words that nobody said: {said(answer)}"
    return ""


def said(answer: Answer) -> str:
    """Return what a caller of a stream read, whether or not it is JSON to the end."""
    return answer.text if answer.body else ""
