"""Running a gateway: listen, learn what nodes serve, drain at the end."""

import asyncio
import errno
import gc
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fairlead.actuators import Autoscaler, actuator_of
from fairlead.config import Config, NodeConfig, NodeKind
from fairlead.config.addresses import is_loopback
from fairlead.discovery import Kind, ModelSeen, list_models
from fairlead.engine.events import LoadStageChanged, Recovered
from fairlead.errors import ConfigError, FairleadError
from fairlead.gateway.app import Gateway
from fairlead.gateway.applying import Running
from fairlead.gateway.build import build_gateway
from fairlead.gateway.memory import Memory, open_store
from fairlead.gateway.reload import Overlay, Reloader, as_written
from fairlead.gateway.scaling import GatewayFleet
from fairlead.gateway.server import SWEEP_S, Server, ServerLimits
from fairlead.gateway.watching import NodeWatching
from fairlead.orchestrator.build import Seen
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.scaling.policy import ScalingPolicy

logger = logging.getLogger("fairlead")
ASK_AGAIN_S = 5.0
ON_ITS_WAY_S = 0.05
"""For requests that came in already, on connections that looked idle, to be read before these are closed."""
LAST_WORDS_S = 0.5
"""For errors to reach those whose answers are not whole when the time to drain is over."""


def serve(
    config: Config,
    on_ready: Callable[[str], None] | None = None,
    *,
    path: Path | None = None,
    overlay: Overlay = as_written,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; returns the exit status.

    `on_ready` is told the address once requests are taken. The file at `path` is read again on SIGHUP and when it
    changes, and `overlay` then puts what holds over it in its place. Raises ConfigError for an address that cannot be
    had.
    """
    check_exposure(config)
    gc.collect()
    gc.freeze()  # what is there now stays; collecting it again and again would only stall requests
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(RunningGateway(config, path, overlay), on_ready))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop where there is one: it relays a fifth faster than the standard one."""
    try:
        import uvloop
    except ImportError:  # Windows has none
        return None
    return uvloop.new_event_loop


def check_exposure(config: Config) -> None:
    """Refuse to listen beyond this machine without keys. Raises ConfigError, saying what to do instead."""
    if not is_loopback(config.host) and not config.keys and not config.insecure:
        raise ConfigError(
            f"listening on {config.host} lets everybody in reach use this gateway, and it has no API keys: "
            "make one with `fairlead key new`, listen on 127.0.0.1, or set `insecure: true`"
        )


class RunningGateway:
    """A gateway that listens: what tests and embedding programs use."""

    def __init__(self, config: Config, path: Path | None = None, overlay: Overlay = as_written) -> None:
        """The file at `path`, if any, is where the configuration is read from again; see `Reloader` for `overlay`."""
        self._config = config
        self._path = path
        self._overlay = overlay
        self._servers: list[asyncio.Server] = []
        self._doors: list[Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._memory: Memory | None = None
        self._watching: NodeWatching | None = None
        self._scaling: asyncio.Task[None] | None = None
        self._scaled: GatewayFleet | None = None
        self._steps: set[asyncio.Task[None]] = set()
        self.gateway: Gateway
        self.orchestrator: ModelOrchestrator
        self._reloader: Reloader | None = None
        self.port = config.port
        self._limits = _limits_of(config)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        config = self._config
        listener = _bind(config)  # first of all: a port in use should be told at once
        self.port = listener.getsockname()[1]
        try:
            await self.prepare()
        except BaseException:
            listener.close()
            raise
        loop = asyncio.get_running_loop()
        self._server = Server(self.gateway, self._limits)
        self._doors.append(self._server)
        self._servers.append(await loop.create_server(self._server.protocol, sock=listener, backlog=1024))
        if config.unix_socket is not None:
            await self._listen_locally(config.unix_socket)
        self._tasks.append(loop.create_task(self._sweep()))

    async def prepare(self) -> None:
        """Build the gateway, without listening: for servers that do that themselves."""
        config = self._config
        seen, _ = await _ask_nodes([node for node in config.nodes if node.models is None])
        store = open_store(config)
        self.gateway, self.orchestrator, recorder = build_gateway(config, seen, self.port, store)
        if store is not None:
            self._memory = Memory(store, self.orchestrator.fleet, recorder.metrics)
            self._memory.recall()
            self._tasks.append(asyncio.get_running_loop().create_task(self._memory.run()))
        self._watching = NodeWatching(self.orchestrator, config)
        self._watching.start(config.nodes)
        self._scale()
        running = Running(self.gateway, self.orchestrator, self._watching, self.port)
        self._reloader = reloader = Reloader(
            config, running, seen, _ask_nodes, self._use, path=self._path, overlay=self._overlay
        )
        self.gateway.let_reload(reloader.reload)
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(reloader.watch()), loop.create_task(_ask_again(reloader))]

    @property
    def drain_s(self) -> float:
        """How long requests in flight may take to finish at the end."""
        return self._config.drain_s

    @property
    def may_reload(self) -> bool:
        """Whether there is a file to read the configuration from again."""
        return self._path is not None

    def reload_soon(self) -> None:
        """Read the configuration again, as SIGHUP asks for; what is wrong with it is logged."""
        if self._reloader is not None:
            self._reloader.reload_soon("SIGHUP asks for it")

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new connections, let requests in flight finish for up to `drain_s`, then end."""
        for server in self._servers:
            server.close()
        self.gateway.drain()
        if self._reloader is not None:
            self._reloader.stop()
        await asyncio.sleep(ON_ITS_WAY_S)
        for door in self._doors:
            door.drain()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + (self._config.drain_s if drain_s is None else drain_s)
        if not await self.orchestrator.drained(end_s - loop.time()):
            self.orchestrator.turn_away()
            end_s = loop.time() + LAST_WORDS_S
        for door in self._doors:
            await door.closed(end_s - loop.time())
        for task in self._tasks:
            task.cancel()
        if self._scaling is not None:
            self._scaling.cancel()
            with suppress(asyncio.CancelledError):
                await self._scaling
        if self._watching is not None:
            await self._watching.close()
        if self._reloader is not None:
            await self._reloader.close()
        await self.orchestrator.close()
        if self._memory is not None:
            self._memory.close()
        if self._config.unix_socket is not None:
            _unlink(self._config.unix_socket)

    def _scale(self) -> None:
        """Let nodes be started and stopped, where that is configured."""
        config = self._config
        actuator = actuator_of(config.scaling)
        if actuator is not None and self._watching is not None:
            self._scaled = port = GatewayFleet(config, self.orchestrator, self._watching, _ask)
            scaler = Autoscaler(ScalingPolicy(config.scaling), actuator, port)
            self.gateway.show_scaling(scaler, config.scaling.actuator.value)
            if self._memory is not None:
                self._memory.also("scaling", scaler.snapshot, scaler.restore)
            self._scaling = asyncio.get_running_loop().create_task(_run(scaler))
            for kind in (LoadStageChanged, Recovered):
                self.orchestrator.bus.subscribe(kind, lambda _: self._look_at_scale(scaler))

    def _look_at_scale(self, scaler: Autoscaler) -> None:
        """Plan at once, not at the end of the interval, where a spike asks for more nodes."""
        orchestrator = self.orchestrator
        if orchestrator.strategy_of_load.wants_more_nodes or orchestrator.recovery.wants_more_nodes:
            task = asyncio.get_running_loop().create_task(_step(scaler))
            self._steps.add(task)
            task.add_done_callback(self._steps.discard)

    async def _listen_locally(self, path: str) -> None:
        admin = Server(self.gateway, self._limits, is_local_admin=True)
        self._doors.append(admin)
        self._servers.append(await asyncio.get_running_loop().create_unix_server(admin.protocol, sock=_bind_unix(path)))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for door in self._doors:
                door.sweep()

    def _use(self, config: Config) -> None:
        """Go by another configuration from now on, in all that is no part of the fleet."""
        self._config = config
        self._limits = _limits_of(config)
        for door in self._doors:
            door.limits = self._limits
        if self._scaled is not None:
            self._scaled.use(config)


async def _step(scaler: Autoscaler) -> None:
    await scaler.step()


async def _ask_again(reloader: Reloader) -> None:
    """Go on asking the nodes that did not say which models they serve."""
    while True:
        await asyncio.sleep(ASK_AGAIN_S)
        silent = tuple(reloader.silent)
        if silent:
            seen, _ = await _ask_nodes(silent)
            try:
                for name in reloader.heard(seen, silent):
                    logger.info("node %s answers now and was added", name)
            except FairleadError as error:
                logger.warning("a node that answers now could not be added: %s", error)


async def _run(scaler: Autoscaler) -> None:
    await scaler.rejoin()
    await scaler.run()


def _limits_of(config: Config) -> ServerLimits:
    limits = config.limits
    return ServerLimits(
        max_body_bytes=limits.max_body_bytes,
        max_header_bytes=limits.max_header_bytes,
        header_timeout_s=limits.header_timeout_s,
        max_connections=limits.max_connections,
    )


async def _serve(running: RunningGateway, on_ready: Callable[[str], None] | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if running.may_reload:  # else a terminal that closes ends it, as it ends all that was started there
        loop.add_signal_handler(signal.SIGHUP, running.reload_soon)
    await running.start()
    if on_ready is not None:
        on_ready(running.url)
    await stop.wait()
    for number in (signal.SIGTERM, signal.SIGINT):  # a second signal ends at once
        loop.remove_signal_handler(number)
    under_way = len(running.orchestrator.in_flight)
    logger.info("stopping: %d requests under way have %g s to finish", under_way, running.drain_s)
    await running.stop()
    logger.info("stopped")
    return 0


def _bind(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only for this
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {config.port} is in use: choose another with --listen {config.host}:PORT"
        else:
            message = f"cannot listen on {config.listen}: {error.strerror}; choose another with --listen HOST:PORT"
        raise ConfigError(message) from None
    return listener


def _bind_unix(path: str) -> socket.socket:
    """Make a socket that only this user can connect to."""
    if Path(path).is_socket():
        Path(path).unlink()  # left over from a gateway that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        Path(path).chmod(0o600)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot make the socket {path}: {error.strerror}; choose another unix_socket") from None
    return listener


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


async def _ask_nodes(nodes: Sequence[NodeConfig]) -> tuple[Seen, list[NodeConfig]]:
    """Ask nodes for their models, all at once; returns what was seen and who did not answer."""
    answers = await asyncio.gather(*map(_ask, nodes))
    seen = {node.name: answer for node, answer in zip(nodes, answers, strict=True) if answer is not None}
    return seen, [node for node in nodes if node.name not in seen]


async def _ask(node: NodeConfig) -> tuple[ModelSeen, ...] | None:
    if node.url is None:
        return ()
    kind: Kind = "ollama" if node.kind is NodeKind.OLLAMA else "openai"
    try:
        key = None if node.api_key is None else node.api_key.reveal()
        headers = {name: secret.reveal() for name, secret in node.headers.items()}
        limit_s = node.timeouts.connect_s or 2.0
        models = await list_models(kind, node.url, key, limit_s, headers=headers, verify_tls=node.verify_tls)
    except FairleadError as error:
        logger.warning("node %s does not say which models it serves, asking again: %s", node.name, error)
        return None
    if not models:
        logger.warning("node %s has no models yet, asking again", node.name)
    return models or None
