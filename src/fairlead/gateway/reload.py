"""The configuration, read again while the gateway serves: on SIGHUP, when the file changes, and when an admin asks.

    read and check --> difference --> ask new nodes for their models --> build --> put in place --> close what is left
         |                                                                |
         +------------------ wrong: the last good one is kept ------------+

One reload at a time. What a node that leaves, or that is reached in another way from now on, is still working on is
finished first, within the time that an answer may take at most.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fairlead.config import Config, NodeConfig, load, validate
from fairlead.config.diff import Difference, applicable, difference
from fairlead.discovery import ModelSeen
from fairlead.engine.events import ConfigChanged
from fairlead.errors import ConfigError, FairleadError
from fairlead.gateway.applying import Running, prepare, reach
from fairlead.gateway.file_watch import LOOK_EACH_S, FileWatch
from fairlead.gateway.leaving import Leaving
from fairlead.orchestrator.build import Seen

logger = logging.getLogger("fairlead")
UNSETTLED_S = 0.1
MOST_READS = 20
"""Of a file that changes while it is read."""

Overlay = Callable[[Config], Config]
"""Puts what holds over the file, such as the command line, in its place."""
Ask = Callable[[Sequence[NodeConfig]], Awaitable[tuple[Seen, list[NodeConfig]]]]
"""Asks nodes for their models; returns what they said, and who did not answer."""


def as_written(config: Config) -> Config:
    """Return a configuration as it is: nothing holds over it."""
    return config


class Reloader:
    """Keeps the configuration in force, and puts another in its place."""

    def __init__(
        self,
        config: Config,
        running: Running,
        seen: Seen,
        ask: Ask,
        on_config: Callable[[Config], None],
        *,
        path: Path | None = None,
        overlay: Overlay = as_written,
    ) -> None:
        """`seen` is what nodes told of their models so far; `on_config` is told what is in force from now on."""
        self.config = config
        self._running = running
        self._seen: Mapping[str, Sequence[ModelSeen]] = dict(seen)
        self.silent = [node for node in config.nodes if node.models is None and node.name not in seen]
        """Nodes that have not said yet which models they serve."""
        self._ask = ask
        self._on_config = on_config
        self._path = path
        self._overlay = overlay
        self._watch = None if path is None else FileWatch(path)
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._is_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = Leaving(running.orchestrator)

    # -- what makes it read again

    def reload_soon(self, why: str) -> None:
        """Read again as soon as possible; what goes wrong is logged. Several calls before that count as one."""
        if not self._is_due and not self._is_closed:
            self._is_due = True
            task = asyncio.get_running_loop().create_task(self._reload_logged(why))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def watch(self) -> None:
        """Read again whenever the file has changed, where the configuration in force wants that."""
        watch = self._watch
        if watch is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EACH_S / 4 if watch.is_settling else LOOK_EACH_S)
            if self.config.reload and watch.has_changed(loop.time()):
                self.reload_soon("the file has changed")

    async def reload(self, is_dry_run: bool = False) -> Difference:
        """Read the file, put it in place unless this is a dry run, and return what that changes.

        Raises ConfigError where the last good configuration is kept, saying why.
        """
        async with self._turn:
            try:
                new = await self._read(is_dry_run=is_dry_run)
                told = difference(self.config, new)
                await self._apply(applicable(self.config, new), is_dry_run=is_dry_run)
            except FairleadError as error:
                if not is_dry_run:
                    self._tell_refused(str(error))
                raise ConfigError(str(error)) from None
            if not is_dry_run:
                self._tell(told)
            return told

    def heard(self, heard: Seen, asked: Iterable[NodeConfig]) -> list[str]:
        """Let nodes join that say now which models they serve; returns their names.

        Only what was `asked` of a node that is still configured as it was then counts.
        """
        there = {node.name: node for node in self.config.nodes}
        own = {one.name: heard[one.name] for one in asked if one.name in heard and there.get(one.name) == one}
        if own and not self._is_closed:
            self._put(self.config, {**self._seen, **own})
            self.silent = [node for node in self.silent if node.name not in own]
        return list(own)

    def stop(self) -> None:
        """Keep the configuration from now on, whatever comes."""
        self._is_closed = True

    async def close(self) -> None:
        """Stop, and close what is left of former configurations."""
        self.stop()
        for task in tuple(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._leaving.close()

    # -- inside

    async def _reload_logged(self, why: str) -> None:
        await asyncio.sleep(0)  # what comes at the same moment counts as one
        self._is_due = False
        logger.info("configuration: reading %s again, since %s", self._path, why)
        try:
            await self.reload()
        except ConfigError:
            pass  # was told of
        except Exception:
            logger.exception("configuration: not foreseen")

    async def _read(self, *, is_dry_run: bool) -> Config:
        """Return what the file says, with what holds over it; it must not change meanwhile. Raises ConfigError."""
        path, watch = self._path, self._watch
        self._refuse_at_the_end()
        if path is None or watch is None:
            raise ConfigError("this gateway was started without a file, so there is nothing to read again")
        for _ in range(MOST_READS):
            mark, problem = watch.mark(), None
            try:
                config = await asyncio.to_thread(lambda: self._overlay(load(path)))
            except ConfigError as error:
                problem = error
            if watch.mark() == mark:
                if not is_dry_run:
                    watch.taken(mark)
                if problem is not None:
                    raise problem
                return config
            await asyncio.sleep(UNSETTLED_S)
        raise ConfigError(f"{path}: cannot be read: it changes all the time")

    async def _apply(self, new: Config, *, is_dry_run: bool) -> None:
        """Put a configuration in place, or only try whether that would do. Raises FairleadError."""
        if new == self.config:
            return
        validate(new, str(self._path))  # what comes with a restart is as it was: does the rest fit that too?
        if is_dry_run:
            prepare(self._running, self.config, new, self._known(new, {}), self._leaving.nodes)
            return
        unheard = self._unheard(new)
        heard, silent = await self._ask(unheard) if unheard else ({}, [])
        self._refuse_at_the_end()
        self._put(new, self._known(new, heard))
        there = {node.name: node for node in new.nodes}
        still = [node for node in self.silent if there.get(node.name) == node and node.name not in heard]
        self.silent = list({node.name: node for node in (*still, *silent)}.values())

    def _refuse_at_the_end(self) -> None:
        if self._is_closed:
            raise ConfigError("this gateway is stopping, so its configuration stays as it is")

    def _unheard(self, new: Config) -> list[NodeConfig]:
        """Return the nodes that have to be asked which models they serve."""
        before = {node.name: node for node in self.config.nodes}

        def is_known(node: NodeConfig) -> bool:
            former = before.get(node.name)
            return node.name in self._seen and former is not None and reach(self.config, former) == reach(new, node)

        return [node for node in new.nodes if node.models is None and not is_known(node)]

    def _known(self, new: Config, heard: Seen) -> dict[str, Sequence[ModelSeen]]:
        """Return what is known of the models of nodes that are asked for them.

        One that does not answer goes on with what it served before, until it does.
        """
        listed = {
            node.name: [ModelSeen(model.name) for model in node.models]
            for node in self.config.nodes
            if node.models is not None
        }
        known = {**listed, **self._seen, **heard}
        return {node.name: known[node.name] for node in new.nodes if node.models is None and node.name in known}

    def _put(self, new: Config, seen: Mapping[str, Sequence[ModelSeen]]) -> None:
        """Put a configuration in place, in one step. Raises FairleadError; then nothing has changed."""
        plan = prepare(self._running, self.config, new, seen, self._leaving.nodes)
        returning = [node.config.name for node in plan.nodes if node.config.name in self._leaving.nodes]
        for name in returning:
            self._leaving.call_back(name)
        former = {node.name: node for node in self.config.nodes}
        left = plan.carry_out(self._running, returning)
        self.config, self._seen = new, seen
        self._on_config(new)
        for target in left.targets:
            self._leaving.close_later(target)
        for name in left.nodes:
            self._leaving.send_off(former[name])

    # -- telling

    def _tell(self, told: Difference) -> None:
        for line in told.lines():
            logger.info("configuration: %s", line)
        if told:
            self._publish(ConfigChanged(at_s=self._running.orchestrator.clock(), changes=told.lines()))
        else:
            logger.info("configuration: nothing has changed")

    def _tell_refused(self, why: str) -> None:
        logger.warning("configuration: the last good one is kept: %s", why)
        self._publish(ConfigChanged(at_s=self._running.orchestrator.clock(), refused=why))

    def _publish(self, event: ConfigChanged) -> None:
        self._running.orchestrator.bus.publish(event)
