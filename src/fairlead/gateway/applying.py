"""A configuration in the place of another while tasks run: all is built first, then put in place in one step.

`prepare` builds whatever may fail (backends, strategies, detectors, engines) and changes nothing. `Plan.carry_out` then
does it without waiting for anything, so that no task sees one half of it. It compares what should be with what is:
what did not change is not touched, and what did keeps its evidence, circuit, leases and, where it is reached as before,
its connections.
"""

from collections.abc import Collection, Mapping

import msgspec

from fairlead.categories import Detector, detector_named
from fairlead.config import Config, NodeConfig, NodeKind
from fairlead.domain import Model
from fairlead.engine.fleet import FleetSettings
from fairlead.errors import ConfigError
from fairlead.gateway.app import Gateway
from fairlead.gateway.build import guard_of
from fairlead.gateway.guard import Guard
from fairlead.gateway.watching import NodeWatching
from fairlead.health import Ladder
from fairlead.orchestrator.build import (
    Seen,
    build_engine,
    call_timeouts,
    fleet_settings,
    groups_of,
    models_of,
    retry_policy,
    target_of,
)
from fairlead.orchestrator.cascade import Cascades
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.target import Target
from fairlead.polling import learnt_capacity
from fairlead.routing import RoutingSettings, Strategy, make_strategy
from fairlead.routing.engine import RoutingEngine

_WHO = frozenset(("keys", "allow_hosts", "allow_origins"))
"""Keys of the configuration that say who may ask."""


class Running(msgspec.Struct, frozen=True):
    """What of a running gateway changes with its configuration."""

    gateway: Gateway
    orchestrator: ModelOrchestrator
    watching: NodeWatching
    port: int


class NodePlan(msgspec.Struct, frozen=True):
    """What a node is to be."""

    config: NodeConfig
    models: tuple[Model, ...]
    target: Target
    is_new: bool
    is_changed: bool
    is_elsewhere: bool
    """Whether it is reached in another way than before."""
    is_moved: bool
    """Whether it is another machine than before, as far as its address tells."""


class Left(msgspec.Struct):
    """What is to be closed once nobody works with it any more."""

    targets: list[Target] = []
    """In whose place others were put."""
    nodes: list[str] = []
    """That get no further tasks."""


class Plan(msgspec.Struct, frozen=True):
    """Everything that is to change, built and ready."""

    config: Config
    nodes: tuple[NodePlan, ...]
    gone: tuple[str, ...]
    changed: frozenset[str]
    """Keys of the configuration."""
    settings: FleetSettings
    strategy: tuple[Strategy, RoutingSettings] | None = None
    """None here and below: stays as it is."""
    detector: Detector | None = None
    engine: RoutingEngine | None = None
    cascades: Cascades | None = None
    guard: Guard | None = None

    def carry_out(self, running: Running, returning: Collection[str] = ()) -> Left:
        """Put it in place, and return what is to be closed later. `returning` names nodes that were on their way out.

        Nothing in here waits.
        """
        orchestrator, left = running.orchestrator, Left()
        for node in self.nodes:
            if node.is_new:
                for model in node.models:
                    orchestrator.add(model, node.config.to_node(), node.target)
            else:
                _change(orchestrator, node, left)
            is_returning = node.config.name in returning
            if is_returning:
                orchestrator.change_node(node.config.name, "undrain")
            if node.is_changed or node.is_new or is_returning:
                running.watching.start([node.config])
        for name in self.gone:
            running.watching.stop(name)
            if name in orchestrator.fleet.nodes:
                orchestrator.change_node(name, "drain")
                left.nodes.append(name)
        self._set(orchestrator)
        running.gateway.configure(self.guard, self.cascades, orchestrator.routing_settings)
        orchestrator.lease_released()  # what was changed may have made room
        return left

    def _set(self, orchestrator: ModelOrchestrator) -> None:
        fleet, config = orchestrator.fleet, self.config
        fleet.settings = self.settings
        if self.engine is not None:
            self.engine.explore(is_on=orchestrator.explores)
            fleet.engine = self.engine
        if self.changed & {"groups", "aliases", "cascades", "fallbacks"}:
            fleet.rename(groups_of(config), config.fallbacks)
        if self.strategy is not None:
            strategy, orchestrator.routing_settings = self.strategy
            orchestrator.set_strategy(strategy)
        if self.detector is not None:
            orchestrator.detector = self.detector
        changed = self.changed
        orchestrator.configure(
            retries=retry_policy(config.retries) if "retries" in changed else None,
            timeouts=call_timeouts(config.timeouts) if "timeouts" in changed else None,
            rescue=config.rescue if "rescue" in changed else None,
            hedging=config.hedging if "hedging" in changed else None,
            degradation=config.degradation if "degradation" in changed else None,
        )


def prepare(running: Running, old: Config, new: Config, seen: Seen, leaving: Mapping[str, NodeConfig]) -> Plan:
    """Build what `new` needs in the place of `old`; `seen` is what nodes told of their models.

    `leaving` are nodes of still older configurations that have not left yet.

    Raises FairleadError for what cannot be had; then nothing has changed.
    """
    orchestrator = running.orchestrator
    former = {node.name: node for node in old.nodes}
    before = {**leaving, **former}
    after = {node.name for node in new.nodes}
    nodes = [_node(orchestrator, old, new, before.get(node.name), node, seen) for node in new.nodes]
    changed = frozenset(name for name in new.__struct_fields__ if getattr(new, name) != getattr(old, name))
    Ladder(new.degradation)  # raises what it would raise once it is too late
    engine = _engine(orchestrator.fleet.engine, old, new) if changed & {"routing", "cascades"} else None
    return Plan(
        config=new,
        nodes=tuple(node for node in nodes if node is not None),
        gone=tuple(name for name in former if name not in after),
        changed=changed,
        settings=fleet_settings(new),
        strategy=_strategy(orchestrator, new) if changed & {"strategy", "exploration"} else None,
        detector=detector_named(new.detector) if "detector" in changed else None,
        engine=engine,
        cascades=None if engine is None else Cascades(orchestrator, new.cascades, on_step=engine.record_step),
        guard=guard_of(new, running.port, running.gateway.guard) if changed & _WHO else None,
    )


def _node(
    orchestrator: ModelOrchestrator, old: Config, new: Config, before: NodeConfig | None, node: NodeConfig, seen: Seen
) -> NodePlan | None:
    """Return what a node is to be; None where nobody knows yet what it serves."""
    name = node.name
    there = orchestrator.targets.get(name)
    if before is None and there is not None:
        raise ConfigError(f"a node named {name!r} was started by scaling: give the one in the file another name")
    pairs = models_of(new, node, seen)
    if not pairs:
        return None
    is_elsewhere = before is None or reach(old, before) != reach(new, node)
    backend = there.backend if there is not None and not is_elsewhere else None
    target = target_of(new, node, seen, backend)
    if there is not None and before is not None and not is_elsewhere and before.continuation is node.continuation:
        target.continuation = there.continuation  # as learnt: only a node that changed is asked again
    models = tuple(model for model, _ in pairs)
    is_moved = before is None or (before.url, before.command) != (node.url, node.command)
    return NodePlan(node, models, target, there is None, before != node, is_elsewhere, is_moved)


def reach(config: Config, node: NodeConfig) -> tuple[object, ...]:
    """Return what the connections of a node depend on."""
    own = node.timeouts.over(config.timeouts)
    limit_s = own.total_s if node.kind is NodeKind.COMMAND else own.connect_s
    return node.kind, node.url, node.api_key, node.headers, node.verify_tls, node.command, limit_s


def _change(orchestrator: ModelOrchestrator, plan: NodePlan, left: Left) -> None:
    """Make a node that is there what it is to be."""
    fleet, name, node = orchestrator.fleet, plan.config.name, plan.config.to_node()
    now_s = orchestrator.clock()
    if plan.target != orchestrator.targets[name]:
        former = orchestrator.replace_target(name, plan.target)
        if former.backend is not plan.target.backend:
            left.targets.append(former)
    state = fleet.nodes[name]
    served = state.candidates
    is_updated = state.node != node
    if is_updated:  # before models come and go: what stays may be the node alone
        fleet.update(next(iter(served.values())).model, node, now_s)
    for model in plan.models:
        candidate = served.get(model.name)
        if candidate is None:
            orchestrator.add(model, node, plan.target)
        elif candidate.model != model:
            fleet.update(model, node, now_s)
    wanted = {model.name for model in plan.models}
    for model_name in [one for one in served if one not in wanted]:
        fleet.remove(model_name, name, now_s)
    if plan.is_moved and orchestrator.prefixes is not None:
        orchestrator.prefixes.forget_node(name)
    if plan.is_elsewhere:
        orchestrator.change_node(name, "recover")  # its trouble was that of its old address, or of its old key
    elif is_updated:
        _know_capacity(orchestrator, plan.config)


def _know_capacity(orchestrator: ModelOrchestrator, node: NodeConfig) -> None:
    """Go on with what a node told of its capacity, where the configuration does not say otherwise."""
    report = orchestrator.fleet.nodes[node.name].report
    if report is not None:
        orchestrator.hear(report, learnt_capacity(report, node.capacity))


def _strategy(orchestrator: ModelOrchestrator, new: Config) -> tuple[Strategy, RoutingSettings]:
    settings = msgspec.structs.replace(orchestrator.routing_settings, exploration=new.exploration)
    return make_strategy(new.strategy, settings), settings


def _engine(former: RoutingEngine | None, old: Config, new: Config) -> RoutingEngine:
    """Return an engine by the new configuration that knows what the former one learnt."""
    engine = build_engine(new, None if former is None else former.scorer)
    if former is not None:
        engine.view, engine.feedback = former.view, former.feedback
        engine.restore(former.snapshot())
        if new.routing.weights != old.routing.weights:
            engine.reset_weights()
        if new.routing.min_quality != old.routing.min_quality:
            engine.reset_thresholds()
    return engine
