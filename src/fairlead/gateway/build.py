"""From a configuration to a gateway that can be served."""

from fairlead.config import Config, KeyConfig
from fairlead.config.addresses import is_loopback
from fairlead.domain import read_priority
from fairlead.domain.priority import FIRST_LEVEL, NORMAL
from fairlead.engine.events import Event
from fairlead.gateway.app import Gateway
from fairlead.gateway.guard import Guard, Key
from fairlead.gateway.wishes import WishReader
from fairlead.orchestrator.build import Seen, build_orchestrator
from fairlead.orchestrator.cascade import Cascades
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.telemetry.recorder import DecisionStore, Recorder


def build_gateway(
    config: Config, seen: Seen, port: int, store: DecisionStore | None = None
) -> tuple[Gateway, ModelOrchestrator, Recorder]:
    """Return a gateway, its orchestrator and what listens to both; must be called where the event loop runs.

    Raises ConfigError for a cascade whose checks cannot work.
    """
    recorder = Recorder(store)
    orchestrator = build_orchestrator(config, seen, recorder)
    orchestrator.bus.subscribe(Event, recorder.on_event)
    engine = orchestrator.fleet.engine
    cascades = Cascades(orchestrator, config.cascades, on_step=None if engine is None else engine.record_step)
    gateway = Gateway(
        orchestrator, guard_of(config, port), WishReader(orchestrator.routing_settings), recorder, cascades
    )
    return gateway, orchestrator, recorder


def guard_of(config: Config, port: int, before: Guard | None = None) -> Guard:
    """Return who may ask what of a gateway that listens on `port`; `before` is whom it takes over from."""
    return Guard(
        [_key(key) for key in config.keys],
        _host_names(config, port),
        config.allow_origins,
        any_host="*" in config.allow_hosts,
        is_private=is_loopback(config.host),
        before=before,
    )


def _key(key: KeyConfig) -> Key:
    return Key(
        key.name,
        key.digest(),
        key.admin,
        key.tenant,
        key.max_cost_usd,
        NORMAL if key.priority is None else read_priority(key.priority),
        FIRST_LEVEL if key.max_priority is None else read_priority(key.max_priority),
        key.requests_per_minute,
        key.tokens_per_minute,
    )


def _host_names(config: Config, port: int) -> list[str]:
    """Return the `Host` values that callers may use: where we listen, by each usual name."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    names = {host, "127.0.0.1", "localhost", "[::1]", *config.allow_hosts}
    return [form for name in names for form in (name, f"{name}:{port}")]
