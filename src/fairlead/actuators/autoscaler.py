"""The loop that scales: looks at the fleet, asks the policy, has the actuator do it, and tells the fleet.

One plan each `interval_s`. Starting and stopping take their time beside the loop, so a slow cold start does not hold up
the next plan; nodes that are starting are counted. A node that was not started here is counted too, and never stopped.
Nothing that goes wrong ends the loop: it is logged and kept in the history, starts pause for a while, and a stop that
failed is tried again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

import msgspec

from fairlead.actuators.contract import Actuator, FleetPort
from fairlead.actuators.history import Entry, History
from fairlead.clock import Clock, steady_s
from fairlead.errors import FairleadError
from fairlead.scaling.policy import ScalingPolicy
from fairlead.scaling.view import FleetView, Phase, ScaledNode, ScalingAction

logger = logging.getLogger("fairlead")

Sleep = Callable[[float], Awaitable[None]]

RETRY_S = 300.0
"""Time until a stop that failed is tried again."""


class Autoscaler:
    """Keeps a fleet at the size that its policy wants; `run` it as a task, cancel the task to end it."""

    def __init__(
        self,
        policy: ScalingPolicy,
        actuator: Actuator,
        fleet: FleetPort,
        *,
        prefix: str = "auto",
        clock: Clock = steady_s,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Nodes that it starts are called `PREFIX-1`, `PREFIX-2` and so on, the lowest free number first."""
        self._policy = policy
        self._actuator = actuator
        self._fleet = fleet
        self._prefix = prefix
        self._clock = clock
        self._sleep = sleep
        self._history = History()
        self._starting: set[str] = set()
        self._stopping: set[str] = set()
        self._own: dict[str, str | None] = {}
        self._left: dict[str, float] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._arrived: int | None = None
        self._last: ScalingAction | None = None

    @property
    def history(self) -> tuple[Entry, ...]:
        """What was done lately, the oldest first."""
        return self._history.entries()

    @property
    def last(self) -> ScalingAction | None:
        """The last plan, whether or not there was anything to do; None before the first."""
        return self._last

    @property
    def own(self) -> dict[str, str | None]:
        """The nodes that it started and may stop, and where each answers, in order of their names."""
        return dict(sorted(self._own.items()))

    async def run(self) -> None:
        """Scale until cancelled; then wait for what is under way to end, and let the actuator go."""
        try:
            while True:
                await self.step()
                every_s = self._policy.config.interval_s
                await self._sleep(every_s - self._clock() % every_s)  # as the windows that demand is counted in end
        finally:
            await self._close()

    async def rejoin(self) -> None:
        """Let the fleet have the nodes again that were started before a restart; one it does not take is stopped."""
        for name, url in self.own.items():
            try:
                await self._fleet.add(name, url)
            except FairleadError as error:
                self._note("trouble", name, f"{name} was started earlier and cannot be used now: {error}")
                await self._take_down(name)

    async def step(self) -> ScalingAction | None:
        """Look, plan, and begin what is to be done; returns the plan, None when something was not foreseen."""
        try:
            action = self._plan(self._fleet.view(), self._clock())
            self._do(action)
        except Exception as error:
            logger.exception("scaling: not foreseen")
            self._note("trouble", "", f"no plan was carried out: {type(error).__name__}: {error}")
            return None
        return action

    async def settle(self) -> None:
        """Wait until every start and stop that was begun is over."""
        while self._jobs:
            await asyncio.wait(self._jobs)

    def snapshot(self) -> dict[str, Any]:
        """Return what was learnt, and which nodes are its own and where they answer, as plain data for JSON."""
        return {"policy": self._policy.snapshot(), "own": self.own}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made. Raises FairleadError for one that is damaged, or of another interval.

        Its own nodes are kept where they outlive this process; `rejoin` gives them to the fleet.
        """
        try:
            self._policy.restore(data["policy"])
            own = {str(name): None if url is None else str(url) for name, url in data["own"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FairleadError(f"what scaling learnt cannot be used ({error}).") from None
        if self._actuator.outlives:
            self._own = own

    # -- planning

    def _plan(self, view: FleetView, now_s: float) -> ScalingAction:
        arrived = 0 if self._arrived is None else max(0, view.arrived - self._arrived)
        self._arrived = view.arrived
        self._policy.observe(arrived, now_s)
        action = self._policy.plan(self._with_own(view), now_s)
        if not action.is_nothing and not _is_same(action, self._last):
            logger.info("scaling: %s", action.why)
            self._history.add(
                Entry(at_s=now_s, what="plan", target=action.target, change=action.change, said=action.why)
            )
        self._last = action
        return action

    def _with_own(self, view: FleetView) -> FleetView:
        """Return the view with nodes that are starting, without those that are stopping, and who may stop which."""
        slots = self._policy.config.node_slots
        nodes = [
            msgspec.structs.replace(node, may_stop=node.may_stop and node.name in self._own)
            for node in view.nodes
            if node.name not in self._starting and node.name not in self._stopping
        ]
        nodes += [ScaledNode(name, slots, 0, Phase.STARTING) for name in sorted(self._starting)]
        return msgspec.structs.replace(view, nodes=tuple(nodes))

    # -- doing

    def _do(self, action: ScalingAction) -> None:
        for names, is_draining in ((action.keep, False), (action.drain, True)):
            for name in names:
                try:
                    self._fleet.drain(name, is_draining)
                except FairleadError as error:
                    self._note("trouble", name, str(error))
        for name in action.stop:
            if name in self._own and name not in self._stopping:
                self._stopping.add(name)
                self._begin(self._stop(name))
        now_s = self._clock()
        for name in [name for name, due_s in self._left.items() if due_s <= now_s]:
            del self._left[name]
            self._stopping.add(name)
            self._begin(self._stop(name, is_known=False))
        for _ in range(action.start):
            name = self._free_name()
            self._starting.add(name)
            self._begin(self._start(name))

    def _free_name(self) -> str:
        taken = {*self._starting, *self._stopping, *self._own}
        return next(name for n in count(1) if (name := f"{self._prefix}-{n}") not in taken)

    def _begin(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _start(self, name: str) -> None:
        begun_s = self._clock()
        try:
            report = await self._actuator.start(name)
            if report.problem:
                self._fail(name, f"{name} was not started: {report.problem}")
            elif report.is_done:
                await self._welcome(name, report.url, begun_s)
        except Exception as error:
            logger.exception("scaling: starting %s: not foreseen", name)
            self._fail(name, f"{name} was not started: {type(error).__name__}: {error}")
        finally:
            self._starting.discard(name)

    async def _welcome(self, name: str, url: str | None, begun_s: float) -> None:
        """Add a started node to the fleet; one that the fleet does not take is stopped again."""
        self._own[name] = url
        try:
            await self._fleet.add(name, url)
        except FairleadError as error:
            self._fail(name, f"{name} was started but cannot be used: {error}")
            await self._take_down(name)
            return
        took_s = self._clock() - begun_s
        self._policy.started(took_s)
        self._note("start", name, f"{name} serves after {took_s:.1f} s")

    async def _stop(self, name: str, *, is_known: bool = True) -> None:
        try:
            if is_known:
                await self._fleet.remove(name)
            await self._take_down(name)
        except Exception as error:
            logger.exception("scaling: stopping %s: not foreseen", name)
            self._note("trouble", name, f"{name} was not stopped: {type(error).__name__}: {error}")
        finally:
            self._stopping.discard(name)

    async def _take_down(self, name: str) -> None:
        """Stop a node that the fleet does not know; where that fails, its name stays taken and it is tried again."""
        report = await self._actuator.stop(name)
        if report.problem:
            self._left[name] = self._clock() + RETRY_S
            self._note("trouble", name, f"{name} may still be running: {report.problem}")
        else:
            del self._own[name]
            self._note("stop", name, f"{name} was stopped")

    def _fail(self, name: str, said: str) -> None:
        self._policy.failed(self._clock())
        self._note("trouble", name, said)

    def _note(self, what: str, node: str, said: str) -> None:
        logger.log(logging.WARNING if what == "trouble" else logging.INFO, "scaling: %s", said)
        self._history.add(Entry(at_s=self._clock(), what=what, node=node, said=said))

    async def _close(self) -> None:
        for job in self._jobs:
            job.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._actuator.close()


def _is_same(action: ScalingAction, last: ScalingAction | None) -> bool:
    """Tell whether a plan repeats the last one, as in a dry run."""
    return last is not None and (action.target, action.start, action.keep, action.drain, action.stop) == (
        last.target,
        last.start,
        last.keep,
        last.drain,
        last.stop,
    )
