"""Running a drill: for each fault a gateway of its own, some at the same time."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from fairlead.config import Config, NodeKind
from fairlead.drill.caller import Seen, call
from fairlead.drill.score import Score, Verdict, judged
from fairlead.drill.shape import Shape
from fairlead.drill.stand_ins import SAY, StandIns
from fairlead.engine.events import Event, Rescued
from fairlead.gateway import RunningGateway
from fairlead.routing import make_strategy
from fairlead.testing.answers import Continues
from fairlead.testing.faults import FAULTS, ProviderFault, Way

AT_ONCE = 6
"""Gateways that run side by side; more would make each other late."""
SLACK_S = 2.0
"""How much later than the total limit allows a call may end."""
CALLS_TO_MEET = 8
"""A node that is gone counts no requests; so many calls are made at most, until one has gone to it first."""
_PROMPT = "count for me"


class Scene(msgspec.Struct, frozen=True):
    """One fault, met in one way."""

    fault: ProviderFault
    way: Way
    is_streamed: bool
    is_everyone: bool


def scenes_of(shape: Shape, names: Iterable[str] = FAULTS) -> list[Scene]:
    """Return what can happen to a fleet of this shape: with one node misbehaving, if there is another, and with all."""
    served = [node for node in shape.config.nodes if node.name in shape.nodes]
    kinds = {"ollama" if node.kind is NodeKind.OLLAMA else "openai" for node in served}
    can_continue = any(node.continuation is not None for node in served)
    scenes: list[Scene] = []
    for is_everyone in (False, True):
        if not is_everyone and len(shape.nodes) < 2:
            continue
        for fault in map(FAULTS.__getitem__, names):
            if not kinds <= set(fault.dialects):  # whoever is asked first must be able to do it
                continue
            if fault.rescuer is not Continues.IGNORES and (is_everyone or not can_continue):
                continue
            for is_streamed, way in ((True, fault.streamed), (False, fault.whole)):
                if way is not None:
                    scenes.append(Scene(fault, way, is_streamed, is_everyone))
    return scenes


async def run_drill(
    shape: Shape, scenes: Iterable[Scene], on_score: Callable[[Score], None] | None = None
) -> list[Score]:
    """Play the scenes, and return what came of each, in their order; `on_score` hears of each as it ends.

    Raises UnknownStrategyError for a shape whose strategy there is not.
    """
    make_strategy(shape.config.strategy)  # once, before as many gateways complain as there are scenes
    places = asyncio.Semaphore(AT_ONCE)

    async def play(scene: Scene) -> Score:
        async with places:
            score = await _play(shape, scene)
        if on_score is not None:
            on_score(score)
        return score

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(play(scene)) for scene in scenes]
    return [task.result() for task in tasks]


async def _play(shape: Shape, scene: Scene) -> Score:
    fault = scene.fault
    stand_ins = StandIns(fault, is_everyone=scene.is_everyone)
    rescues: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Rescued):
            rescues.append(event.how)

    async with stand_ins.config(shape.config) as config:
        running = RunningGateway(config)
        starting = asyncio.create_task(running.start())
        try:
            await asyncio.shield(starting)
            running.orchestrator.bus.subscribe(Rescued, note)
            seen = await _ask(running.port, shape.model, stand_ins, scene, _limit_s(config))
        finally:
            await starting  # a gateway that has half begun cannot be stopped
            await running.stop(0.0)
    attempts = stand_ins.attempts if fault.calls == 1 and not fault.is_gone else seen.attempts
    right = scene.way.alone if scene.is_everyone else scene.way.helped
    is_elsewhere = len(shape.nodes) > 1 and attempts > 1 and (stand_ins.asked > 1 or fault.is_gone)
    how = _how(rescues, is_elsewhere, attempts)
    verdict, told = judged(fault, right, scene.way, seen, SAY(_PROMPT), how)
    if verdict is Verdict.FAILED and seen.total_s >= _limit_s(config):
        told = "no end"
    return Score(
        fault=fault.name,
        does=fault.does,
        is_streamed=scene.is_streamed,
        is_everyone=scene.is_everyone,
        verdict=verdict,
        how=told,
        first_s=seen.first_s,
        total_s=seen.total_s,
        attempts=attempts,
    )


async def _ask(port: int, model: str, stand_ins: StandIns, scene: Scene, limit_s: float) -> Seen:
    """Ask until the fault was met, or an answer was not complete.

    Where a node is to go away, it answers first, and then others are asked until it would have been its turn.
    """
    fault = scene.fault
    seen = await call(port, model, _PROMPT, limit_s, stream=scene.is_streamed)
    if fault.is_gone:
        await stand_ins.unplug()
    for _ in range(CALLS_TO_MEET if fault.is_gone else fault.calls - 1):
        seen = await call(port, model, _PROMPT, limit_s, stream=scene.is_streamed)
        if seen.attempts > 1 or not seen.is_done:
            break
    return seen


def _limit_s(config: Config) -> float:
    return config.timeouts.total_s + SLACK_S


def _how(rescues: list[str], is_elsewhere: bool, attempts: int) -> str:
    """Say in a word how a complete answer came about."""
    if rescues:
        return rescues[-1]
    if is_elsewhere:
        return "failover"
    return "retry" if attempts > 1 else "answered"
