"""What a task demands of a model, and which models cannot meet it, each with its reason."""

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations

import msgspec

from fairlead.domain import RouteRejection, Task
from fairlead.errors import BadRequestError, NoCandidateError
from fairlead.routing.config import RoutingConfig
from fairlead.routing.filters import Reason, too_dear


class Demand(StrEnum):
    """What a model can fall short of, and what that is called in a rejection."""

    CAPABILITY = Reason.CAPABILITY.value
    CONTEXT = Reason.CONTEXT.value
    COST = Reason.COST.value
    QUALITY = "expected quality too low"
    LATENCY = "expected to take too long"


class Requirements(msgspec.Struct, frozen=True):
    """A task's demands, with those of the configuration where it makes none of its own."""

    needs: frozenset[str]
    context_tokens: int
    input_tokens: int
    output_limit: int
    """0 where there is none."""
    quality: float
    """The knob."""
    min_quality: float
    max_cost_usd: float | None
    max_latency_s: float | None

    @property
    def has_limits(self) -> bool:
        """Whether expectations may rule anything out."""
        return self.min_quality > 0.0 or self.max_cost_usd is not None or self.max_latency_s is not None


def requirements(task: Task, config: RoutingConfig, min_quality: float) -> Requirements:
    """Return what a task demands. Raises BadRequestError for a number out of its range."""
    quality = config.quality if task.quality is None else _share("quality", task.quality)
    floor = min_quality if task.min_quality is None else _share("min_quality", task.min_quality)
    max_cost_usd = config.max_cost_usd if task.max_cost_usd is None else task.max_cost_usd
    if max_cost_usd is not None and not 0.0 <= max_cost_usd < math.inf:
        raise BadRequestError(f"max_cost_usd must be 0 or more, not {max_cost_usd!r}", "max_cost_usd")
    max_latency_s = task.max_latency_s
    if max_latency_s is None and config.max_latency_ms is not None:
        max_latency_s = config.max_latency_ms / 1000.0
    if max_latency_s is not None and not 0.0 < max_latency_s < math.inf:
        raise BadRequestError(f"max_latency must be above 0, not {max_latency_s!r} s", "max_latency_ms")
    if task.input_tokens < 0 or task.output_tokens < 0:
        raise BadRequestError(f"tokens must be 0 or more, not {task.input_tokens} and {task.output_tokens}", "tokens")
    tokens = task.input_tokens + task.output_tokens
    return Requirements(
        task.needs, tokens, task.input_tokens, task.output_tokens, quality, floor, max_cost_usd, max_latency_s
    )


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise BadRequestError(f"{name} must be between 0 and 1, not {value!r}", name)
    return value


class Prospect(msgspec.Struct, frozen=True, gc=False):
    """What is expected of one chain, for the filters."""

    name: str
    capabilities: frozenset[str] | None
    """What all its models can do; None where unknown."""
    context_tokens: int | None
    quality: float
    is_quality_known: bool
    cost_usd: float | None
    latency_s: float | None


def shortfalls(asked: Requirements, one: Prospect) -> list[tuple[Demand, str]]:
    """Return every demand that a chain does not meet, in words; what is unknown rules nothing out, but for quality.

    A model of which nothing is known is expected to be worth 0.5, and judged by that: who sets a floor does not want it
    tried out below.
    """
    found: list[tuple[Demand, str]] = []
    if asked.needs and one.capabilities is not None and not asked.needs <= one.capabilities:
        found.append((Demand.CAPABILITY, ", ".join(sorted(asked.needs - one.capabilities))))
    if one.context_tokens is not None and asked.context_tokens > one.context_tokens:
        found.append((Demand.CONTEXT, f"{asked.context_tokens} tokens needed, {one.context_tokens} there"))
    if one.quality < asked.min_quality:
        known = "" if one.is_quality_known else ", as nothing is known of it"
        found.append((Demand.QUALITY, f"{one.quality:.2f} expected{known}, at least {asked.min_quality:g} demanded"))
    if asked.max_cost_usd is not None and one.cost_usd is not None and one.cost_usd > asked.max_cost_usd:
        found.append((Demand.COST, too_dear(one.cost_usd, asked.max_cost_usd)))
    if asked.max_latency_s is not None and one.latency_s is not None and one.latency_s > asked.max_latency_s:
        found.append((Demand.LATENCY, f"about {one.latency_s:.2f} s, at most {asked.max_latency_s:g} s allowed"))
    return found


def rejection(one: Prospect, found: Sequence[tuple[Demand, str]]) -> RouteRejection:
    """Tell the first shortfall of a chain."""
    demand, detail = found[0]
    return RouteRejection(one.name, demand.value, detail)


def nobody(asked: Requirements, prospects: Sequence[Prospect]) -> NoCandidateError:
    """Return the error for demands that no chain meets: it names those that cannot be met, or not together."""
    failed = [shortfalls(asked, one) for one in prospects]
    reasons: dict[str, int] = {}
    for found in failed:
        reasons[found[0][0].value] = reasons.get(found[0][0].value, 0) + 1
    kinds = [{demand for demand, _ in found} for found in failed]
    present = [demand for demand in Demand if any(demand in kind for kind in kinds)]
    for size in range(1, len(present) + 1):
        for blamed in combinations(present, size):
            if all(kind.intersection(blamed) for kind in kinds):
                return NoCandidateError(_message(asked, blamed, prospects, failed), reasons)
    return NoCandidateError("no model meets the task's requirements", reasons)


def _message(
    asked: Requirements,
    blamed: tuple[Demand, ...],
    prospects: Sequence[Prospect],
    failed: Sequence[list[tuple[Demand, str]]],
) -> str:
    wanted = [_in_words(asked, demand) for demand in blamed]
    details = []
    for one, found in list(zip(prospects, failed, strict=True))[:5]:
        first = next(f"{demand.value} ({detail})" for demand, detail in found if demand in blamed)
        details.append(f"{one.name}: {first}")
    told = "; ".join(details) + (f"; and {len(prospects) - 5} more" if len(prospects) > 5 else "")
    if len(wanted) == 1:
        return f"no model meets {wanted[0]}: relax it, or add a model that does. {told}"
    return (
        f"these contradict each other, as no model meets them together: {' and '.join(wanted)}. Each can be met alone: "
        f"relax one. {told}"
    )


def _in_words(asked: Requirements, demand: Demand) -> str:
    if demand is Demand.CAPABILITY:
        return f"needs {', '.join(sorted(asked.needs))}"
    if demand is Demand.CONTEXT:
        return f"context of {asked.context_tokens} tokens"
    if demand is Demand.QUALITY:
        return f"min_quality {asked.min_quality:g}"
    if demand is Demand.COST:
        return f"max_cost_usd {asked.max_cost_usd:g}"
    return f"max_latency_ms {1000.0 * (asked.max_latency_s or 0.0):g}"
