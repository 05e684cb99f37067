"""Who plans a fleet: fairlead's policy, a clairvoyant, and a target of utilisation as Kubernetes' autoscaler has it."""

from collections import deque
from collections.abc import Sequence
from math import ceil
from random import Random

from capacity_scaling_sim import Planner, Setting, poisson

from fairlead.scaling import FleetView, Phase, ScaledNode, ScalingAction, ScalingConfig, ScalingPolicy, slots_needed

WAIT_SHARE = 0.99
COOLDOWN_S = 60.0
"""As long as a cold start: what a stopped node costs when it is wanted again."""
HPA_UTILISATION, HPA_TOLERANCE, HPA_STABLE_S = 0.7, 0.1, 300.0


def config_of(setting: Setting, max_nodes: int = 100_000) -> ScalingConfig:
    """Return the policy's configuration, the same for every trace."""
    return ScalingConfig(
        min_nodes=1,
        max_nodes=max_nodes,
        max_step=max_nodes,
        node_slots=setting.node_slots,
        wait_target_s=setting.wait_target_s,
        wait_share=WAIT_SHARE,
        cold_start_s=setting.cold_start_s,
        cooldown_s=COOLDOWN_S,
        interval_s=setting.interval_s,
    )


def nodes_for(rate: float, setting: Setting) -> int:
    """Return the fewest nodes that hold the wait target at a steady rate."""
    slots = slots_needed(rate, setting.service_s, wait_target_s=setting.wait_target_s, wait_share=WAIT_SHARE)
    return max(1, ceil(slots / setting.node_slots))


def learnt_policy(
    setting: Setting,
    history: Sequence[float | None],
    window_s: float,
    random: Random,
    config: ScalingConfig | None = None,
) -> ScalingPolicy:
    """Return a policy that has watched these windows, the last of which ends at time 0; None: nobody was looking."""
    policy = ScalingPolicy(config or config_of(setting))
    every = setting.interval_s
    now_s = -len(history) * window_s
    for rate in history:
        for _ in range(round(window_s / every)):
            now_s += every
            if rate is not None:
                policy.observe(poisson(rate * every, random), now_s)
    return policy


def by_policy(policy: ScalingPolicy) -> Planner:
    """Plan as fairlead does."""

    def plan(view: FleetView, arrivals: int, now_s: float) -> ScalingAction:
        if now_s:
            policy.observe(arrivals, now_s)
        return policy.plan(view, now_s)

    return plan


def clairvoyant(rates: Sequence[float], window_s: float, setting: Setting) -> Planner:
    """Plan knowing every rate: each node is there exactly while it is needed.

    A node is started one cold start early, and kept through a gap that is shorter than a cold start and a drain, since
    to stop and start it again would cost more.
    """
    every = setting.interval_s
    per_window = round(window_s / every)
    needs = [nodes_for(rate, setting) for rate in rates for _ in range(per_window)]
    lead = ceil(setting.cold_start_s / every)
    bridge = lead + ceil(setting.service_s * sum(1.0 / n for n in range(1, setting.node_slots + 1)) / every)
    totals = [0] * len(needs)
    for level in range(1, max(needs) + 1):
        for begin, end in _spells(needs, level, bridge):
            for at in range(max(0, begin - lead), end):
                totals[at] += 1

    def plan(view: FleetView, _arrivals: int, now_s: float) -> ScalingAction:
        return towards(view, totals[round(now_s / every)], "clairvoyant")

    return plan


def _spells(needs: Sequence[int], level: int, bridge: int) -> list[tuple[int, int]]:
    """Return when the level-th node is needed, gaps of at most `bridge` intervals filled."""
    spells: list[tuple[int, int]] = []
    for at, need in enumerate(needs):
        if need < level:
            continue
        if spells and at - spells[-1][1] <= bridge:
            spells[-1] = (spells[-1][0], at + 1)
        else:
            spells.append((at, at + 1))
    return spells


def utilisation_target() -> Planner:
    """Plan so that 70 % of the slots are busy, by the rules of Kubernetes' horizontal pod autoscaler.

    Within a tenth of the target nothing changes, at most a doubling at once, and down only to the most that was asked
    for in the last five minutes.
    """
    asked: deque[tuple[float, int]] = deque()

    def plan(view: FleetView, _arrivals: int, now_s: float) -> ScalingAction:
        active = [node for node in view.nodes if node.phase is not Phase.DRAINING]
        serving = [node for node in active if node.phase is Phase.SERVING]
        used = sum(node.busy for node in serving) / max(1, sum(node.slots for node in serving))
        wanted = len(active)
        if abs(used / HPA_UTILISATION - 1.0) > HPA_TOLERANCE:
            wanted = max(1, ceil(len(serving) * used / HPA_UTILISATION))
            wanted = min(wanted, 2 * len(active))
        while asked and now_s - asked[0][0] > HPA_STABLE_S:
            asked.popleft()
        asked.append((now_s, wanted))
        target = wanted if wanted > len(active) else min(len(active), max(nodes for _, nodes in asked))
        return towards(view, target, "utilisation")

    return plan


def towards(view: FleetView, target: int, why: str) -> ScalingAction:
    """Return the action that leads to this many nodes."""
    drained: list[ScaledNode] = [node for node in view.nodes if node.phase is Phase.DRAINING]
    active = len(view.nodes) - len(drained)
    stop = tuple(node.name for node in drained if not node.busy)
    if target >= active:
        return ScalingAction(target=target, why=why, start=target - active, stop=stop)
    serving = [node.name for node in view.nodes if node.phase is Phase.SERVING]
    return ScalingAction(target=target, why=why, drain=tuple(serving[: active - target]), stop=stop)
