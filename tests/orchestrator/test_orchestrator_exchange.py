"""What one exchange does about faults that meet, so that its caller hears the truth and nobody else suffers."""

import asyncio

import pytest
from orchestrator_shared import (
    BEGINS_AT_S,
    END,
    MODEL,
    Caller,
    Script,
    Sent,
    Stage,
    answers,
    by_turns,
    chat,
    cut,
    endless,
    in_virtual_time,
    piece,
    reads,
    says,
    told_errors,
    unreachable,
)

from fairlead.backends.contract import Headers
from fairlead.backends.http_connection import Job
from fairlead.backends.http_pool import HttpPool, PoolLimits
from fairlead.dialects import decode
from fairlead.dialects.contract import Dialect, Operation
from fairlead.domain.health import Incident, Verdict
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.engine.events import FailedOver, Rescued, RescueFailed
from fairlead.errors import Fault, TaskFailedError
from fairlead.health.config import DegradationConfig, HedgingConfig, Step
from fairlead.orchestrator.limits import KeyLimits
from fairlead.orchestrator.orchestrator import STOPPING
from fairlead.orchestrator.target import CallTimeouts
from fairlead.orchestrator.timeouts import Timeouts
from fairlead.orchestrator.wishes import Wishes
from fairlead.testing import FakeProvider, Fate, Reply

RUBBISH = b"data: {broken}\n\n"
BREAKS = cut("Hello ")
FINISHES = says("Hello ", "world")
LINE = "Row, row, row your boat."
SHORT = 64

# -- what a node sends in one read


@in_virtual_time
async def test_text_behind_a_comment_in_the_same_read_arrives() -> None:
    stage = Stage({"a": reads(b": processing\n\n" + piece("Hello "), piece("world"), END)})
    _, caller = stage.ask()
    await stage.settle()
    assert (caller.ends, caller.text) == (["end"], "Hello world")


@in_virtual_time
async def test_comments_alone_are_no_first_token() -> None:
    stage = Stage({"a": reads(*[b": processing\n\n"] * 100)}, timeouts=CallTimeouts(first_token_s=3.0))
    exchange, caller = stage.ask()
    await stage.settle()
    assert caller.ends == ["refused"]
    assert exchange.ended_s == pytest.approx(BEGINS_AT_S + 3.0, abs=0.2)


SPOILS_ITS_END = by_turns(reads(piece("Hello"), piece(None, "stop") + RUBBISH), reads(piece("Hello")))


@in_virtual_time
async def test_rubbish_behind_the_end_ends_its_exchange_and_keeps_no_other_from_its_timer() -> None:
    stage = Stage({"a": SPOILS_ITS_END}, timeouts=CallTimeouts(idle_s=5.0))
    callers = [stage.ask()[1] for _ in range(4)]
    await stage.settle(60.0)
    assert callers[0].ends in (["broke"], ["end"])
    assert [caller.ends for caller in callers[1:]] == [["broke"]] * 3


@in_virtual_time
async def test_rubbish_behind_the_end_keeps_nobody_from_hearing_of_the_stop() -> None:
    stage = Stage({"a": SPOILS_ITS_END})
    callers = [stage.ask()[1] for _ in range(4)]
    await asyncio.sleep(1.0)
    stage.orchestrator.turn_away()
    assert callers[0].ends in (["broke"], ["end"])
    assert [caller.ends for caller in callers[1:]] == [["broke"]] * 3
    await stage.settle()


# -- what nobody can go on with


@in_virtual_time
async def test_when_the_time_is_over_in_mid_answer_nobody_else_is_asked_or_blamed() -> None:
    stage = Stage(dict.fromkeys("abc", endless), timeouts=CallTimeouts(total_s=10.0))
    _, caller = stage.ask()
    await stage.settle()
    assert caller.ends == ["broke"]
    assert [stage.asked(name) for name in "abc"] == [1, 0, 0]
    assert {blame.node for blame in stage.blamed} <= {"a"}
    nodes = stage.orchestrator.fleet.nodes
    assert [nodes[name].breaker.failures_in_a_row for name in "bc"] == [0, 0]


@in_virtual_time
async def test_a_prompt_that_nothing_can_be_added_to_ends_with_an_error() -> None:
    body = b'{"model":"m","stream":true,"prompt":"hi","x":1e999}'
    breaks = cut("Hello ", operation=Operation.COMPLETION)
    stage = Stage({"a": breaks, "b": breaks})
    _, caller = stage.ask(decode(Dialect.OPENAI, Operation.COMPLETION, "/v1/completions", body))
    await stage.settle()
    assert (caller.ends, caller.text) == (["broke"], "Hello ")
    assert caller.broken["message"]


@pytest.mark.parametrize(("breaks", "end", "status"), [(unreachable, "refused", 500), (BREAKS, "broke", 502)])
@in_virtual_time
async def test_a_strategy_that_fails_on_its_second_choice_ends_that_task_with_an_error(
    breaks: Script, end: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage({"a": breaks, "b": breaks})
    strategy = stage.orchestrator.fleet.strategy
    exchange, caller = stage.ask()

    def choose(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(strategy, "choose", choose)
    await stage.settle()
    assert (caller.ends, exchange.status) == ([end], status), "what broke an answer is told first"
    assert [type(error) for error in told_errors()] == [ZeroDivisionError]


# -- what is said again


@pytest.mark.parametrize("line", [LINE, LINE + "\n", "la "], ids=["plain", "with a line's end", "short"])
@pytest.mark.parametrize("how", [Continuation.CONTINUE_FINAL, Continuation.NONE])
@in_virtual_time
async def test_a_line_that_an_answer_really_says_twice_is_never_lost(line: str, how: Continuation) -> None:
    whole = line + line + "Gently down the stream."

    def goes_on(sent: Sent) -> None:
        rest = whole.removeprefix(sent.begun)
        says(*(rest[at : at + 7] for at in range(0, len(rest), 7)))(sent)

    stage = Stage({"a": cut(line), "b": goes_on}, continues={"b": how})
    _, caller = stage.ask()
    await stage.settle()
    assert caller.ends in (["end"], ["broke"])
    if caller.ends == ["end"]:
        assert caller.text == whole
    else:
        assert caller.broken["message"]
        assert whole.startswith(caller.text)


# -- who may finish an answer


@in_virtual_time
async def test_a_node_that_was_to_be_left_alone_when_an_answer_began_may_finish_it_later() -> None:
    stage = Stage({"a": cut("Hello ", "wor", gap_s=5.0), "b": FINISHES})
    (candidate,) = [one for one in stage.orchestrator.fleet.members(MODEL) if one.node.name == "b"]
    stage.orchestrator.fleet.cool(candidate, BEGINS_AT_S + 2.0, BEGINS_AT_S)
    exchange, caller = stage.ask()
    await stage.settle()
    assert (caller.ends, caller.text) == (["end"], "Hello world")
    assert [(step.node, step.to_node) for step in exchange.rescues] == [("a", "b")]


@in_virtual_time
async def test_any_model_lets_the_fallback_on_another_node_finish_an_answer() -> None:
    stage = Stage({"a": BREAKS}, rescue=Rescue.ANY_MODEL)
    stage.serve("other", "b", FINISHES)
    stage.orchestrator.fleet.name_fallbacks(MODEL, ["other"])
    exchange, caller = stage.ask()
    await stage.settle()
    assert (caller.ends, caller.text) == (["end"], "Hello world")
    assert [step.to_model for step in exchange.rescues] == ["other"]


@pytest.mark.parametrize("is_slow", [True, False])
@in_virtual_time
async def test_a_stream_that_waits_for_its_caller_is_not_moved(is_slow: bool) -> None:
    stage = Stage({"a": by_turns(reads(piece("Hello "))), "b": FINISHES})
    exchange, caller = stage.ask()
    await asyncio.sleep(1.0)
    exchange.on_pressure(is_slow)
    await asyncio.sleep(8.0)
    now_s = stage.orchestrator.clock()
    incident = Incident(node="a", verdict=Verdict.DOWN, at_s=now_s, why="somebody says so")
    stage.orchestrator.recovery.look(now_s)
    plan = stage.orchestrator.recovery.trigger_failover(incident)
    assert plan.moving == (() if is_slow else (exchange.task.id,))
    assert stage.asked("b") == (0 if is_slow else 1)
    exchange.on_pressure(False)
    await stage.settle()
    assert (caller.ends, caller.text) == (["end"], "Hello world"), "rescued in the end, by its idle limit"


@in_virtual_time
async def test_a_rescue_is_told_by_the_node_on_which_the_answer_broke() -> None:
    stage = Stage({"a": BREAKS, "b": unreachable, "c": FINISHES})
    exchange, caller = stage.ask()
    await stage.settle()
    assert caller.text == "Hello world"
    assert [decision.candidate.node.name for decision in exchange.decisions] == ["a", "b", "c"]
    (told,) = stage.told(Rescued)
    assert (told.node, told.to_node) == ("a", "c")
    assert [(step.node, step.to_node) for step in exchange.rescues] == [("a", "c")]
    assert len(stage.told(FailedOver)) == 2


@in_virtual_time
async def test_what_a_node_says_of_a_longer_prompt_says_nothing_of_its_chats() -> None:
    refuses_first = by_turns(answers(400), FINISHES)
    stage = Stage(
        {"a": cut("Hello ", operation=Operation.COMPLETION), "b": refuses_first},
        continues={"b": Continuation.CONTINUE_FINAL},
    )
    stage.ask(chat(operation=Operation.COMPLETION))
    await stage.settle()
    assert stage.asked("b") == 2, "asked otherwise"
    assert stage.orchestrator.targets["b"].continuation is Continuation.CONTINUE_FINAL


@in_virtual_time
async def test_what_a_node_says_of_the_beginning_of_an_answer_is_learnt() -> None:
    refuses_first = by_turns(answers(400), FINISHES)
    stage = Stage({"a": BREAKS, "b": refuses_first}, continues={"b": Continuation.CONTINUE_FINAL})
    _, caller = stage.ask()
    await stage.settle()
    assert caller.text == "Hello world"
    assert stage.orchestrator.targets["b"].continuation is Continuation.NONE


# -- what is told of an answer that broke

REPEATS_THEN_GOES_ON = reads(piece("Hello "), *(piece("w ") for _ in range(50)), gap_s=1.0)


@in_virtual_time
async def test_after_a_rescue_the_stop_of_the_gateway_tells_its_own_reason() -> None:
    stage = Stage({"a": BREAKS, "b": REPEATS_THEN_GOES_ON})
    exchange, caller = stage.ask()
    await asyncio.sleep(10.0)
    assert len(exchange.rescues) == 1
    stage.orchestrator.turn_away()
    assert (caller.ends, exchange.status) == (["broke"], 503)
    assert (caller.broken["message"], caller.broken["code"]) == (STOPPING.message, STOPPING.code)
    await stage.settle()


@in_virtual_time
async def test_after_a_rescue_the_deadline_tells_its_own_reason() -> None:
    stage = Stage({"a": BREAKS, "b": REPEATS_THEN_GOES_ON})
    exchange, caller = stage.ask(wishes=Wishes(deadline_after_s=5.0))
    await stage.settle()
    assert len(exchange.rescues) == 1
    assert (caller.ends, exchange.status, caller.broken["code"]) == (["broke"], 504, "timeout")
    assert "deadline" in caller.broken["message"]


@pytest.mark.parametrize(
    ("other", "slots"),
    [(unreachable, None), (answers(500), None), (endless, {"a": 1, "b": 1})],
    ids=["unreachable", "an error", "waits in vain"],
)
@in_virtual_time
async def test_a_rescue_that_fails_is_told_once(other: Script, slots: dict[str, int] | None) -> None:
    stage = Stage({"a": BREAKS, "b": other}, slots=slots, timeouts=CallTimeouts(total_s=30.0))
    exchange, caller = stage.ask()
    if slots:
        stage.ask()
    await stage.settle()
    assert caller.ends == ["broke"]
    told = [one for one in stage.told(RescueFailed) if one.task == exchange.task.id]
    assert len(told) == 1


@in_virtual_time
async def test_the_deadline_of_a_caller_is_no_failed_rescue() -> None:
    stage = Stage({"a": endless, "b": endless})
    _, caller = stage.ask(wishes=Wishes(deadline_after_s=5.0))
    await stage.settle()
    assert caller.ends == ["broke"]
    assert not stage.told(RescueFailed)


@in_virtual_time
async def test_what_was_said_before_a_rescue_failed_is_charged_to_the_key() -> None:
    stage = Stage({"a": cut(*["word "] * 100, gap_s=0.01), "b": unreachable})
    limits = KeyLimits(tokens_per_minute=1000)
    exchange, caller = stage.ask(wishes=Wishes(limits=limits))
    await asyncio.sleep(20.0)
    assert caller.ends == ["broke"]
    assert exchange.used_tokens == exchange.task.input_tokens + 100
    assert limits._tokens is not None
    assert limits._tokens.used(stage.orchestrator.clock()) == exchange.used_tokens
    await stage.settle()


# -- a task from a program


@in_virtual_time
async def test_what_a_callers_own_function_raises_is_raised_and_nobody_is_blamed() -> None:
    stage = Stage(dict.fromkeys("abc", says("a ", "b ", "c ")))

    def on_text(_: str) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await stage.orchestrator.process_task("hi", model=MODEL, on_text=on_text)
    assert [stage.asked(name) for name in "abc"] == [1, 0, 0]
    assert not stage.blamed
    await stage.settle()


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize(
    ("breaks", "status", "code"),
    [
        (BREAKS, 502, None),
        (reads(piece("Hello "), b'data: {"error":{"message":"out of memory","code":"oom"}}\n\n'), 502, "oom"),
    ],
    ids=["cut", "error event"],
)
@in_virtual_time
async def test_a_task_that_fails_in_mid_answer_says_what_failed(
    breaks: Script, status: int, code: str | None, names: str
) -> None:
    stage = Stage(dict.fromkeys(names, breaks))
    with pytest.raises(TaskFailedError) as raised:
        await stage.orchestrator.process_task("hi", model=MODEL)
    error = raised.value
    assert (error.status, error.code) == (status, code)
    assert error.task_id == stage.finished[0].task.id
    await stage.settle()


# -- what is given up under pressure


def press(stage: Stage, last: Step) -> None:
    """Give up all steps of the ladder up to this one."""
    degrading, now_s = stage.orchestrator.degrading, stage.orchestrator.clock()
    degrading.configure(DegradationConfig(steps=(last,), max_output_tokens=SHORT))
    degrading.climb(1.0, now_s)


@pytest.mark.parametrize("how", [Continuation.NONE, Continuation.CONTINUE_FINAL])
@in_virtual_time
async def test_an_answer_that_is_cut_under_pressure_is_cut_in_a_rescue_too(how: Continuation) -> None:
    stage = Stage({"a": BREAKS, "b": FINISHES}, continues={"b": how})
    press(stage, Step.SHORTER_ANSWERS)
    stage.ask()
    await asyncio.sleep(10.0)
    limits = [stage.nodes[name].sent[0].fields.get("max_tokens") for name in "ab"]
    assert limits[0] == SHORT
    assert limits[1] is not None
    assert limits[1] <= SHORT
    await stage.settle()


@in_virtual_time
async def test_the_cheaper_model_is_leant_to_where_there_is_a_choice_and_told_only_there() -> None:
    stage = Stage({"a": FINISHES})
    stage.serve("other", "b", FINISHES)
    press(stage, Step.CHEAPER_MODEL)
    open_call, fixed_call = chat("auto"), chat(MODEL)
    task = stage.orchestrator.task_of(open_call)
    passed = stage.orchestrator.submit(open_call, Caller(), task=task)
    chosen, _ = stage.ask(open_call)
    fixed, _ = stage.ask(fixed_call)
    given, _ = stage.ask(open_call, Wishes(quality=0.9))
    assert passed.task.id == task.id
    assert passed.task.quality is not None
    assert passed.task.quality < 0.5
    assert (chosen.task.quality, chosen.degraded) == (passed.task.quality, Step.CHEAPER_MODEL.value)
    assert passed.degraded == Step.CHEAPER_MODEL.value
    assert (fixed.task.quality, fixed.degraded) == (None, "")
    assert (given.task.quality, given.degraded) == (0.9, "")
    await stage.settle()


@in_virtual_time
async def test_hedging_that_is_given_up_stays_so_when_it_is_configured_anew() -> None:
    stage = Stage({"a": FINISHES}, hedging=HedgingConfig(enabled=True))
    press(stage, Step.HEDGING)
    stage.orchestrator.configure(hedging=HedgingConfig(enabled=True, budget=0.04))
    is_off = [stage.orchestrator.hedger.is_off]
    stage.orchestrator.degrading.configure(DegradationConfig())
    assert [*is_off, stage.orchestrator.hedger.is_off] == [True, False]
    await stage.settle()


# -- clockwork and connections


@in_virtual_time
async def test_a_duration_that_becomes_usual_leaves_no_timer_behind() -> None:
    hits: list[float] = []

    class Watched:
        def on_due(self) -> None:
            hits.append(asyncio.get_running_loop().time())

    timeouts, watched = Timeouts((1.0,)), Watched()
    timeouts.run_on(asyncio.get_running_loop())
    timeouts.watch(watched, 7.0)
    timeouts.expect((7.0,))
    timeouts.unwatch(watched, 7.0)
    await asyncio.sleep(20.0)
    assert not hits
    assert not timeouts._unusual


@in_virtual_time
async def test_a_watched_thing_that_fails_keeps_no_other_from_being_told() -> None:
    hits: list[int] = []

    class Watched:
        def __init__(self, number: int) -> None:
            self.number = number

        def on_due(self) -> None:
            hits.append(self.number)
            raise ZeroDivisionError

    timeouts, all_watched = Timeouts((1.0,)), [Watched(number) for number in range(3)]
    timeouts.run_on(asyncio.get_running_loop())
    for watched in all_watched:
        timeouts.watch(watched, 1.0)
    await asyncio.sleep(20.0)
    assert hits == [0, 1, 2]
    assert len(told_errors()) == 3


class Hearing:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.heads = 0

    def on_head(self, status: int, headers: Headers) -> None:
        self.heads += 1

    def on_data(self, data: bytes) -> None:
        """It is not looked at."""

    def on_end(self) -> None:
        """It is not looked at."""

    def on_error(self, fault: Fault, message: str) -> None:
        self.faults.append(fault)


POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


def test_a_pool_that_closes_tells_those_who_wait_for_a_connection() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.SILENT)) as provider:
            pool = HttpPool("127.0.0.1", provider.port, limits=PoolLimits(max_connections=1))
            at_work, waits = Hearing(), Hearing()
            pool.send(Job(POST, at_work))
            pool.send(Job(POST, waits))
            while not provider.connections:
                await asyncio.sleep(0.01)
            await pool.close()
            assert waits.faults == [Fault.TRANSPORT]
            while provider.connections:
                await asyncio.sleep(0.01)
            assert provider.accepted == 1, "nobody connects once the pool is closed"

    asyncio.run(main())


def test_a_pool_that_closes_tells_those_who_connect() -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            await provider.stop()
            await provider.be_unreachable()
            pool, connects = HttpPool("127.0.0.1", provider.port), Hearing()
            pool.send(Job(POST, connects))
            await asyncio.sleep(0.01)
            await pool.close()
            assert connects.faults == [Fault.CONNECT]

    asyncio.run(main())


@pytest.mark.parametrize("names", ["a", "ab"])
@in_virtual_time
async def test_a_task_whose_answer_falls_silent_fails_with_504(names: str) -> None:
    stage = Stage(dict.fromkeys(names, reads(piece("Hello "))))
    with pytest.raises(TaskFailedError) as raised:
        await stage.orchestrator.process_task("hi", model=MODEL)
    assert (raised.value.status, raised.value.code) == (504, "timeout")
    await stage.settle()


@in_virtual_time
async def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    stage = Stage({"a": says("Hello", first_s=1.895)}, slots={"a": 1})
    stage.ask()
    _, caller = stage.ask(wishes=Wishes(deadline_after_s=2.0))
    await stage.settle()
    assert (caller.ends, stage.asked("a")) == (["refused"], 1)
