"""From a configuration to a fleet, and to the orchestrator that runs tasks through it."""

from collections.abc import Mapping, Sequence

import msgspec

from fairlead.backends.command_backend import CommandBackend
from fairlead.backends.contract import Backend
from fairlead.backends.http_backend import HttpBackend
from fairlead.backends.http_pool import PoolLimits
from fairlead.backends.simulated_backend import SimulatedBackend
from fairlead.balancing.balancer import LoadBalancer
from fairlead.capability.scorer import CapabilityConfig, CapabilityScorer
from fairlead.categories import detector_named
from fairlead.config import Config, KeyConfig, LoadMeasure, NodeConfig, NodeKind, Retries, Timeouts
from fairlead.config.known_models import fill
from fairlead.dialects.contract import Dialect
from fairlead.discovery import ModelSeen
from fairlead.domain import Model
from fairlead.domain.rescue import Continuation
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.retry_budget import RetryPolicy
from fairlead.errors import ConfigError
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.orchestrator.orchestrator import ModelOrchestrator, Watcher
from fairlead.orchestrator.target import CallLimits, CallTimeouts, Target
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.chains import Cascade
from fairlead.routing.engine import RoutingEngine

Seen = Mapping[str, Sequence[ModelSeen]]
"""Node name -> what that node told of its models."""
LEASE_SLACK_S = 30.0
ALWAYS_POSSIBLE = frozenset(("json", "logprobs"))
"""Capabilities that servers do not list; they rule nothing out where a list comes from the server itself."""


def build_fleet(config: Config, seen: Seen, now_s: float) -> Fleet:
    """Return the fleet that a configuration describes; nothing is contacted."""
    settings = fleet_settings(config)
    fleet = Fleet(make_strategy(config.strategy, routing_settings(config)), settings, build_engine(config))
    for node in config.nodes:
        for model, _ in models_of(config, node, seen):
            fleet.add(model, node.to_node(), now_s)
    _name(fleet, config)
    return fleet


def build_engine(config: Config, scorer: CapabilityScorer | None = None) -> RoutingEngine:
    """Return the routing engine that a configuration describes, with what a scorer learnt, or with nothing learnt."""
    return RoutingEngine(
        config.routing,
        scorer or CapabilityScorer(CapabilityConfig(half_life_s=config.half_life_s)),
        cascades=[Cascade(one.name, one.models) for one in config.cascades],
        seed=config.seed,
    )


def build_orchestrator(config: Config, seen: Seen, watcher: Watcher | None = None) -> ModelOrchestrator:
    """Return the orchestrator that a configuration describes, with its nodes; nothing is contacted."""
    routing = routing_settings(config)
    orchestrator = ModelOrchestrator(
        balancer=LoadBalancer(config.load_balancer),
        fleet=Fleet(make_strategy(config.strategy, routing), fleet_settings(config), build_engine(config)),
        detector=detector_named(config.detector),
        retries=retry_policy(config.retries),
        timeouts=call_timeouts(config.timeouts),
        queue=config.queue,
        shares=shares_of(config.keys),
        watcher=watcher,
        routing=routing,
        rescue=config.rescue,
        hedging=config.hedging,
        degradation=config.degradation,
    )
    for node in config.nodes:
        target = target_of(config, node, seen)
        for model, _ in models_of(config, node, seen):
            orchestrator.add(model, node.to_node(), target)
    _name(orchestrator.fleet, config)
    return orchestrator


def retry_policy(retries: Retries) -> RetryPolicy:
    """Return how often a task is tried again."""
    return RetryPolicy(retries.max_attempts, retries.budget_ratio, retries.min_per_second)


def shares_of(keys: Sequence[KeyConfig]) -> dict[str, float]:
    """Return the share of each tenant: of several keys the largest that is said, 1.0 where none says any."""
    shares: dict[str, float] = {}
    for key in keys:
        if key.share != 1.0:
            name = key.tenant or key.name
            shares[name] = max(key.share, shares.get(name, 0.0))
    return shares


def fleet_settings(config: Config) -> FleetSettings:
    """Return what a fleet is built with. No lease ends while its call may still go on: expiry is for lost owners."""
    of_nodes = [node.timeouts.total_s or 0.0 for node in config.nodes]
    of_models = [model.timeouts.total_s or 0.0 for model in config.models]
    longest_s = max([config.timeouts.total_s, *of_nodes, *of_models])
    ttl_s = max(config.pending_timeout_s, longest_s + LEASE_SLACK_S)
    return FleetSettings(
        seed=config.seed,
        half_life_s=config.half_life_s,
        lease_ttl_s=ttl_s,
        probe_ttl_s=ttl_s,
        breaker=config.circuit_breaker,
        health=config.health,
        max_node_utilization=config.load_balancer.max_node_utilization,
        counts_tokens=config.load_measure is LoadMeasure.TOKENS,
        slow_start_s=config.load_balancer.slow_start_s,
        probes_when_needed=True,
    )


def routing_settings(config: Config) -> RoutingSettings:
    """Return what strategies are built with."""
    prefixes = PrefixAffinity(config.prefix) if config.prefix.enabled else None
    return RoutingSettings(exploration=config.exploration, load_measure=config.load_measure, prefixes=prefixes)


def target_of(config: Config, node: NodeConfig, seen: Seen, backend: Backend | None = None) -> Target:
    """Return how a node is reached, by a backend of its own or by one that there is, and what it calls its models."""
    own = node.timeouts.over(config.timeouts)
    names = {model.name: own_name for model, own_name in models_of(config, node, seen) if model.name != own_name}
    timeouts = call_timeouts(own)
    by_model = {one.name: timeouts.but(CallLimits(**msgspec.structs.asdict(one.timeouts))) for one in config.models}
    by_model = {name: limits for name, limits in by_model.items() if limits != timeouts}
    known = None if node.continuation is Continuation.PROBE else node.continuation
    return Target(backend or _backend(node, own), names, timeouts, by_model, known)


def call_timeouts(limits: Timeouts) -> CallTimeouts:
    """Return the limits of a call that a configuration says."""
    return CallTimeouts(limits.headers_s, limits.first_token_s, limits.load_s, limits.idle_s, limits.total_s)


def models_of(config: Config, node: NodeConfig, seen: Seen) -> list[tuple[Model, str]]:
    """Return a node's models, each with the node's own name for it; what the file says goes before what was seen."""
    declared = {model.name: model.to_model() for model in config.models}
    told = {one.name: one for one in seen.get(node.name, ())}
    names = [(one.public, one.name) for one in node.models] if node.models is not None else [(n, n) for n in told]
    pairs: list[tuple[Model, str]] = []
    for public, own_name in names:
        model = declared.get(public)
        if model is None:
            one = told.get(own_name)
            capabilities = None if one is None or one.capabilities is None else one.capabilities | ALWAYS_POSSIBLE
            model = Model(public, capabilities, None if one is None else one.context_tokens)
        pairs.append((fill(model, own_name, open_only=node.kind is not NodeKind.OPENAI), own_name))
    return pairs


def groups_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return what each name stands for that is no model's: groups, aliases and cascades."""
    aliases = {name: config.groups.get(model, (model,)) for name, model in config.aliases.items()}
    # cascades, so that lists of models know them; the gateway never asks the fleet for one
    return {**config.groups, **aliases, **{one.name: one.models for one in config.cascades}}


def _name(fleet: Fleet, config: Config) -> None:
    for name, members in groups_of(config).items():
        fleet.name_group(name, members)
    for name, models in config.fallbacks.items():
        fleet.name_fallbacks(name, models)


def _backend(node: NodeConfig, limits: Timeouts) -> Backend:
    if node.kind is NodeKind.COMMAND:
        return CommandBackend(node.command or (), timeout_s=limits.total_s)
    if node.kind is NodeKind.SIMULATED:
        return SimulatedBackend(node.name)
    if node.url is None:
        raise ConfigError(f"node {node.name!r} needs a url")
    return HttpBackend(
        node.url,
        Dialect.OLLAMA if node.kind is NodeKind.OLLAMA else Dialect.OPENAI,
        api_key=None if node.api_key is None else node.api_key.reveal(),
        headers={name: secret.reveal() for name, secret in node.headers.items()},
        verify_tls=node.verify_tls,
        limits=PoolLimits(connect_s=limits.connect_s),
    )
