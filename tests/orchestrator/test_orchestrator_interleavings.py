"""Random fleets under random faults, hedges, give-ways, cancels, stops, drains and slow readers: laws for all of them.

One seed is one history of a few virtual minutes. All nodes are meant to give the same answer, so it is known what a
caller may read; a node that is not to be blamed is known by its script.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
import pytest
from orchestrator_shared import (
    END,
    MODEL,
    Blame,
    Caller,
    Script,
    Sent,
    Stage,
    chat,
    in_virtual_time,
    piece,
    told_errors,
)

from fairlead.dialects.contract import ErrorInfo
from fairlead.domain import RoutingStrategy
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.engine.faults import TREATMENTS
from fairlead.engine.faults import Blame as Whose
from fairlead.engine.retry_budget import RetryPolicy
from fairlead.errors import Fault
from fairlead.health.config import HedgingConfig
from fairlead.orchestrator.exchange import LEAST_TIME_S, Exchange
from fairlead.orchestrator.orchestrator import STOPPING
from fairlead.orchestrator.target import CallTimeouts
from fairlead.orchestrator.wishes import Wishes

TEXT = "".join(f"w{number} " for number in range(12))
OTHER = "ZZZ "
"""What a node puts in between, or ends with, that says something else than the others."""
RUBBISH = b"data: {bad}\n\n"
BOOM = b'data: {"error":{"message":"boom"}}\n\n'
SHORT_RUN = 80
SOAK_RUNS, SOAK_RUN = 10, 200
QUIET_S = 400.0
"""After the last task, all is over by then."""
SLACK_S = 0.2
MOST = 12
"""Requests for one task, whatever happens."""
UNCOUNTED = (Fault.RATE_LIMITED, Fault.DIVERGED)
"""No work was done, and the same node may mend it by saying it otherwise."""
LEFT = "somebody gave it up"

# -- nodes


class Talk(msgspec.Struct):
    """What a node would say, and when."""

    rng: random.Random
    words: list[str]
    first_s: float
    gap_s: float
    at: int
    """After how many words a fault comes."""


def _speak(sent: Sent, talk: Talk, words: list[str], *, comments: float = 0.0) -> float:
    """Say words, some of them in two reads; returns when the next one would follow."""
    at_s, rng = talk.first_s, talk.rng
    sent.head(at_s)
    for word in words:
        data = piece(word)
        if rng.random() < comments:
            data = b": working\n\n" + data
        if rng.random() < 0.2:
            middle = rng.randint(1, len(data) - 1)
            sent.data(at_s, data[:middle])
            data = data[middle:]
        sent.data(at_s, data)
        at_s += talk.gap_s
    return at_s


def _well(sent: Sent, talk: Talk) -> None:
    at_s = _speak(sent, talk, talk.words, comments=0.1)
    sent.data(at_s, END)
    sent.end(at_s)


def _cut(sent: Sent, talk: Talk) -> None:
    sent.error(_speak(sent, talk, talk.words[: talk.at]), Fault.TRANSPORT, "cut")


def _stall(sent: Sent, talk: Talk) -> None:
    _speak(sent, talk, talk.words[: talk.at])


def _silent(sent: Sent, talk: Talk) -> None:
    """Accept, and say nothing."""


def _unreachable(sent: Sent, talk: Talk) -> None:
    sent.error(talk.first_s, Fault.CONNECT, "refused")


def _rubbish(sent: Sent, talk: Talk) -> None:
    at_s = _speak(sent, talk, talk.words[: talk.at])
    sent.data(at_s, talk.rng.choice((RUBBISH, BOOM)))
    sent.end(at_s + 0.1)


def _rubbish_behind_the_end(sent: Sent, talk: Talk) -> None:
    sent.data(_speak(sent, talk, talk.words), piece(None, "stop") + RUBBISH)


def _no_end_mark(sent: Sent, talk: Talk) -> None:
    at_s = _speak(sent, talk, talk.words)
    sent.data(at_s, piece(None, "stop"))
    if talk.rng.random() < 0.5:
        sent.end(at_s + 0.1)


def _diverge(sent: Sent, talk: Talk) -> None:
    rest = talk.rng.choice(([], talk.words[talk.at :]))
    at_s = _speak(sent, talk, [*talk.words[: talk.at], OTHER, *rest])
    sent.data(at_s, END)
    sent.end(at_s)


def _status(status: int) -> Callable[[Sent, Talk], None]:
    def answer(sent: Sent, talk: Talk) -> None:
        sent.head(talk.first_s, status, [(b"retry-after", b"1")] if status == 429 else [])
        sent.data(talk.first_s, b'{"error":{"message":"no"}}')
        sent.end(talk.first_s)

    return answer


BLAMELESS = (_well, _no_end_mark, _diverge)
"""Ways of a node that is only ever late."""
WAYS = (
    *(_cut, _stall, _diverge) * 2,
    *(_silent, _unreachable, _rubbish, _rubbish_behind_the_end, _no_end_mark),
    *map(_status, (400, 404, 429, 500)),
)


def _whole(sent: Sent, talk: Talk) -> None:
    """Answer at once with all of it."""
    message = {"role": "assistant", "content": TEXT}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": MODEL, "usage": None}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    sent.head(talk.first_s)
    sent.data(talk.first_s + talk.gap_s, json.dumps(body).encode())
    sent.end(talk.first_s + talk.gap_s)


def _pieces(rng: random.Random, text: str) -> list[str]:
    ends = [0]
    while ends[-1] < len(text):
        ends.append(min(ends[-1] + rng.randint(1, 9), len(text)))
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def _rest(begun: str) -> str:
    """Return what is left of an answer, into which another node may have put what others do not say."""
    at = begun.find(OTHER.strip())
    whole = TEXT if at < 0 else TEXT[:at] + OTHER + TEXT[at:]
    assert whole.startswith(begun), f"a node is given {begun!r}, which is no beginning of the answer"
    return whole.removeprefix(begun)


class Doings:
    """What the nodes of one history did, request by request."""

    def __init__(self) -> None:
        self.of: dict[int, list[tuple[str, Sent, bool, float]]] = {}
        """By task: the node, its request, whether it did what it should, and how long its first piece took."""

    def script(self, node: str, rng: random.Random, *, continues: bool, fails: float) -> Script:
        """Return how a node behaves."""

        def play(sent: Sent) -> None:
            rest = TEXT
            if continues and rng.random() < 0.8:  # else it says again what it was given, by habit of its server
                rest = _rest(sent.begun)
            words = _pieces(rng, rest)
            talk = Talk(rng, words, rng.choice((0.01, 0.05, 0.3, 2.5)), rng.choice((0.0, 0.01, 0.4)), 0)
            talk.at = rng.randint(0, len(words))
            way = rng.choice(WAYS) if rng.random() < fails else _well
            if way is _diverge and sent.begun and rest == TEXT:
                way = _well  # else nobody could tell that it did not go on, as it was said to do
            if way in BLAMELESS and not sent.fields["stream"]:
                way = _whole
            way(sent, talk)
            task = int(sent.fields["messages"][0]["content"])
            self.of.setdefault(task, []).append((node, sent, way in (*BLAMELESS, _whole), talk.first_s))

        return play


# -- callers


class Asked(msgspec.Struct):
    """One task, and what its caller did."""

    exchange: Exchange
    caller: Caller
    wishes: Wishes
    ends_on_hanging_up: int | None = None
    """How many ends the caller had been told when it hung up."""

    def hang_up(self) -> None:
        """The caller goes away."""
        if self.ends_on_hanging_up is None:
            self.ends_on_hanging_up = len(self.caller.ends)
            self.exchange.cancel()

    def read_no_more(self) -> None:
        """The caller reads too slowly for now."""
        if self.exchange.has_begun and not self.exchange.is_over:
            self.exchange.on_pressure(True)

    def give_up(self) -> None:
        """Somebody says that its node is gone."""
        if self.exchange.attempt is not None:
            self.exchange.leave(self.exchange.attempt, ErrorInfo(502, LEFT))


def _fleet(rng: random.Random, doings: Doings) -> Stage:
    fails, names = rng.choice((0.0, 0.2, 0.5, 0.8, 1.0)), "abcd"[: rng.randint(1, 4)]
    scripts: dict[str, Script] = {}
    declared: dict[str, Continuation] = {}
    for name in names:
        continues = rng.random() < 0.4
        scripts[name] = doings.script(name, rng, continues=continues, fails=fails)
        if continues or rng.random() < 0.15:  # some do not keep what is said of them
            declared[name] = Continuation.CONTINUE_FINAL
    stage = Stage(
        scripts,
        continues=declared,
        slots={name: rng.randint(1, 3) for name in names} if rng.random() < 0.6 else None,
        timeouts=CallTimeouts(
            headers_s=rng.choice((None, 0.5)),
            first_token_s=rng.choice((1.0, 3.0)),
            idle_s=rng.choice((1.0, 2.0, 6.0)),
            total_s=rng.choice((6.0, 20.0, 60.0)),
        ),
        strategy=rng.choice((RoutingStrategy.ROUND_ROBIN, RoutingStrategy.LEAST_LOADED, RoutingStrategy.HYBRID)),
        hedging=HedgingConfig(enabled=rng.random() < 0.6),
        retries=RetryPolicy(max_wait_s=rng.choice((0.5, 3.0))),
        rescue=rng.choice(tuple(Rescue)) if rng.random() < 0.2 else Rescue.SAME_MODEL,
    )
    hedger = stage.orchestrator.hedger
    for name in names:
        if rng.random() < 0.7:
            usual_s = rng.choice((0.02, 0.1))
            for _ in range(hedger.config.min_outcomes):
                hedger.observe((MODEL, name), usual_s)
    for _ in range(200):
        hedger.deposit()
    return stage


def _disturb(stage: Stage, rng: random.Random, one: Asked) -> None:
    loop, exchange = asyncio.get_running_loop(), one.exchange
    chance, when_s = rng.random(), rng.random() * 5.0
    if chance < 0.1:
        one.hang_up()
    elif chance < 0.2:
        loop.call_later(when_s, one.hang_up)
    elif chance < 0.25:
        loop.call_later(when_s, exchange.stop, STOPPING, 1.0)
    elif chance < 0.3:
        loop.call_later(when_s, one.give_up)
    elif chance < 0.4:
        loop.call_later(when_s, one.read_no_more)
        loop.call_later(when_s + rng.random() * 15.0, exchange.on_pressure, False)
    elif chance < 0.5:
        verb = rng.choice(("drain", "undrain", "recover"))
        loop.call_later(when_s, stage.orchestrator.change_node, rng.choice(tuple(stage.nodes)), verb)


async def _ask_all(stage: Stage, rng: random.Random) -> list[Asked]:
    asked: list[Asked] = []
    for number in range(rng.randint(1, 25)):
        wishes = Wishes(
            priority=rng.choice((0, 5, 9)),
            restart=rng.random() < 0.3,
            deadline_after_s=rng.choice((None, None, 2.0, 8.0)),
        )
        exchange, caller = stage.ask(chat(stream=rng.random() < 0.85, says=str(number)), wishes)
        asked.append(Asked(exchange, caller, wishes))
        _disturb(stage, rng, asked[-1])
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.05, 0.3)))
    return asked


# -- laws


def _is_honest(text: str, *, is_whole: bool) -> bool:
    """Tell whether somebody said just this, or, where the answer broke, began with it."""
    said = text.replace(OTHER, "")
    return TEXT.startswith(said) and (not is_whole or said == TEXT or text.endswith(OTHER))


def _faults_of_answer(one: Asked) -> Iterator[str]:
    """Say what is wrong with what a caller was told."""
    caller, exchange = one.caller, one.exchange
    if one.ends_on_hanging_up is not None:
        if len(caller.ends) != one.ends_on_hanging_up:
            yield f"told {caller.ends} although it had hung up"
        return
    if len(caller.ends) != 1:
        yield f"told {caller.ends}: one end is right"
        return
    (end,) = caller.ends
    if end == "whole":
        (choice,) = json.loads(caller.data)["choices"]
        if choice["message"]["content"] != TEXT:
            yield f"the whole answer is {choice!r}"
    elif end != "refused":
        if not _is_honest(caller.text, is_whole=end == "end"):
            yield f"{end}: nobody said {caller.text!r}; {exchange.rescues}"
        if caller.data.count(b"[DONE]") != (end == "end") or (b'"error"' in caller.data) != (end == "broke"):
            yield f"{end}: the stream ends in {caller.data[-200:]!r}"
    if (exchange.fault is None) != (end in ("end", "whole")):
        yield f"{end}, and its fault is {exchange.fault}"


def _time_of(one: Asked, stage: Stage) -> float:
    own_s = one.wishes.deadline_after_s
    return stage.timeouts.total_s if own_s is None else min(own_s, stage.timeouts.total_s)


def _faults_of_work(number: int, one: Asked, stage: Stage, doings: Doings) -> Iterator[str]:
    """Say what is wrong with what nodes were asked for one task."""
    began_s, limit_s = one.exchange.began_s, _time_of(one, stage)
    done = doings.of.get(number, [])
    if (one.exchange.ended_s or began_s) - began_s > limit_s + SLACK_S:
        yield f"task {number} took longer than {limit_s} s"
    for node, sent, _, _ in done:
        if sent.at_s - began_s > limit_s - LEAST_TIME_S + 1e-6:
            yield f"{node} was asked for task {number} {sent.at_s - began_s:.3f} s after it began, of {limit_s} s"
    faults = [blame.fault for blame in stage.blamed if blame.exchange is one.exchange]
    tried = [fault.value for fault in faults if TREATMENTS[fault].is_budgeted and fault not in UNCOUNTED]
    if len(tried) > stage.orchestrator.max_attempts + (one.exchange.hedge is not None):
        yield f"task {number} was tried too often: {tried}"
    if len(done) > MOST:
        yield f"{len(done)} requests were sent for task {number}"


def _is_earned(blame: Blame, one: Asked, stage: Stage, done: list[tuple[str, Sent, bool, float]]) -> bool:
    """Tell whether a node that is blamed did something for it; who is taken for dead is blamed for all it holds.

    Where the caller reads too slowly nobody is blamed, and nothing ends before its time is over.
    """
    is_over = blame.at_s - one.exchange.began_s > _time_of(one, stage) - SLACK_S
    if blame.is_pressed and blame.fault in (Fault.TIMEOUT, Fault.CANCELLED):
        return is_over and blame.fault is Fault.CANCELLED
    is_left = blame.message == LEFT or blame.message.startswith(f"node {blame.node} is down: ")
    if is_left or TREATMENTS[blame.fault].blame is Whose.NOBODY:
        return True
    limits = stage.timeouts
    first_s = min(limits.headers_s or limits.first_token_s, limits.first_token_s)
    mine = [(is_good, took_s) for node, _, is_good, took_s in done if node == blame.node]
    if blame.fault is Fault.TIMEOUT:
        return is_over or any(not is_good or took_s >= first_s for is_good, took_s in mine)
    return any(not is_good for is_good, _ in mine)


def _broken_laws(stage: Stage, asked: list[Asked], doings: Doings) -> Iterator[str]:
    yield from (f"left: {left}" for left in stage.left())
    if Counter(map(id, stage.finished)) != Counter(id(one.exchange) for one in asked):
        yield f"{len(stage.finished)} of {len(asked)} exchanges were told to be over"
    number_of = {id(one.exchange): number for number, one in enumerate(asked)}
    for number, one in enumerate(asked):
        yield from _faults_of_answer(one)
        yield from _faults_of_work(number, one, stage, doings)
    for blame in stage.blamed:
        number = number_of[id(blame.exchange)]
        if not _is_earned(blame, asked[number], stage, doings.of.get(number, [])):
            yield f"{blame.node} did nothing, and is blamed: {blame.fault} ({blame.message})"
    blamed = {blame.node for blame in stage.blamed}
    for name, state in stage.orchestrator.fleet.nodes.items():
        if state.breaker.failures_in_a_row and name not in blamed:
            yield f"{name} never failed, and has {state.breaker.failures_in_a_row} failures"


def history(seed: int, seen: Counter[str]) -> list[str]:
    """Live through one history, count what happened in it, and return which laws it broke."""
    broken: list[str] = []

    @in_virtual_time
    async def live() -> None:
        rng, doings = random.Random(seed), Doings()
        stage = _fleet(rng, doings)
        asked = await _ask_all(stage, rng)
        await stage.orchestrator.drained(QUIET_S)
        broken.extend(f"left at once: {left}" for left in stage.left())
        await asyncio.sleep(QUIET_S)
        broken.extend(_broken_laws(stage, asked, doings))
        broken.extend(f"the event loop was told of {error!r}" for error in told_errors())
        seen.update(type(event).__name__ for event in stage.events)
        seen.update(end for one in asked for end in one.caller.ends)
        seen.update(step.how for one in asked for step in one.exchange.rescues)
        seen.update(blame.fault.value for blame in stage.blamed)
        await stage.orchestrator.close()

    live()
    return broken


def hold(seeds: range) -> None:
    """See the laws hold in all of these histories."""
    seen: Counter[str] = Counter()
    broken = {seed: found for seed in seeds if (found := history(seed, seen))}
    assert not broken, broken
    happened = ("end", "whole", "broke", "refused", "Hedged", "FailedOver", "RescueFailed", "continued", "spliced")
    assert all(seen[what] for what in happened), f"too little happened: {seen}"


def test_whatever_happens_each_task_ends_once_and_honestly() -> None:
    hold(range(SHORT_RUN))


@pytest.mark.soak
@pytest.mark.parametrize("run", range(SOAK_RUNS))
def test_whatever_happens_each_task_ends_once_and_honestly_for_long(run: int) -> None:
    begin = SHORT_RUN + run * SOAK_RUN
    hold(range(begin, begin + SOAK_RUN))
