"""Which nodes go up and down, once it is known how many slots are missing or spare."""

from math import ceil

import msgspec

from fairlead.scaling.config import ScalingConfig
from fairlead.scaling.view import Phase, ScaledNode, ScalingAction


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet, what it needs, and why."""

    active: tuple[ScaledNode, ...]
    """Nodes that serve or start."""
    drained: tuple[ScaledNode, ...]
    needed: int
    """Slots."""
    reason: str


def grow(config: ScalingConfig, now: Situation, missing: int, *, is_paused: bool) -> ScalingAction:
    """Take drained nodes back, the busiest first, and start others until no slot is missing or a bound is met."""
    keep: list[str] = []
    steps = min(config.max_step, max(0, config.max_nodes - len(now.active)))
    for node in sorted(now.drained, key=lambda node: (-node.busy, node.name)):
        if missing <= 0 or len(keep) == steps:
            break
        keep.append(node.name)
        missing -= node.slots
    wanted = max(0, ceil(missing / config.node_slots))
    room = min(steps - len(keep), config.max_nodes - len(now.active) - len(now.drained))
    start = 0 if is_paused else max(0, min(wanted, room))
    target = len(now.active) + len(keep) + start
    bound = ""
    if start < wanted:
        held = f"{wanted - start} more held back by max_step {config.max_step} or max_nodes {config.max_nodes}"
        bound = "; starts failed, so no new one yet" if is_paused else f"; {held}"
    return ScalingAction(
        target=target,
        why=f"{_verb(start, len(keep))} to {_nodes(target)}: {now.reason}{bound}",
        start=start,
        keep=tuple(keep),
        stop=_ended(now, keep),
        needed_slots=now.needed,
    )


def shrink(config: ScalingConfig, now: Situation, spare: float, floor: int) -> ScalingAction:
    """Drain nodes as long as their slots are spare, the one with the fewest tasks first, and stop drained ones.

    Beyond `max_nodes` they are drained whether or not they are spare.
    """
    drain: list[str] = []
    serving = [node for node in now.active if node.phase is Phase.SERVING and node.may_stop]
    for node in sorted(serving, key=lambda node: (node.busy, -node.slots, node.name)):
        left = len(now.active) - len(drain)
        if len(drain) == config.max_step or left <= floor or (left <= config.max_nodes and spare < node.slots):
            break
        drain.append(node.name)
        spare -= node.slots
    target = len(now.active) - len(drain)
    verb = f"drain {len(drain)}, down to" if drain else "stay at"
    return ScalingAction(
        target=target,
        why=f"{verb} {_nodes(target)}: {now.reason}",
        drain=tuple(drain),
        stop=_ended(now, ()),
        needed_slots=now.needed,
    )


def _ended(now: Situation, keep: list[str] | tuple[()]) -> tuple[str, ...]:
    return tuple(node.name for node in now.drained if not node.busy and node.name not in keep)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _verb(start: int, keep: int) -> str:
    parts = [f"start {start}"] * bool(start) + [f"take back {keep}"] * bool(keep)
    return f"{' and '.join(parts)}, up" if parts else "hold, up"
