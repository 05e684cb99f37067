"""`fairlead nodes`: what each node has, what of it is leased, what it tells of itself, and what scaling does."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from fairlead.cli.capacity import Column, Paper, amount, bar, duration, facts, size, table
from fairlead.cli.watching import Asked, Subject, asks_a_gateway, present
from fairlead.cli.wording import clean, count, percent

_SUBJECT = Subject("/admin/nodes", "nodes")
_MODELS_LETTERS = 32
_LINES_BESIDE_NODES = 8
_STEPS_SHOWN = 3
_STYLES = {"closed": "green", "half_open": "yellow", "open": "red"}
_VERDICTS = {"healthy": "green", "degraded": "yellow", "saturated": "yellow", "ejected": "red", "down": "red"}
_LEFT_OUT = ("ejected", "down")


class _Reported(msgspec.Struct):
    age_s: float
    running: int | None = None
    waiting: int | None = None
    utilization: float | None = None
    loaded: list[str] = []


class _Prefix(msgspec.Struct):
    blocks: int = 0
    promised_tokens: int = 0
    found_tokens: int = 0
    trust: float = 1.0


class _Step(msgspec.Struct):
    age_s: float
    what: str
    said: str
    node: str = ""


class _Scaling(msgspec.Struct):
    target: int | None = None
    why: str = ""
    history: list[_Step] = []


class _Health(msgspec.Struct):
    verdict: str
    why: str = ""
    error_rate: float | None = None
    excess_ms: float | None = None


class _Node(msgspec.Struct):
    name: str
    circuit: str
    models: list[str]
    utilization: float
    capacity: dict[str, float] = {}
    leased: dict[str, float] = {}
    used_last_minute: dict[str, float] = {}
    warmth: float = 1.0
    draining: bool = False
    reported: _Reported | None = None
    prefix: _Prefix | None = None
    health: _Health | None = None


class NodesPage(msgspec.Struct):
    """The answer of `GET /admin/nodes`."""

    nodes: list[_Node]
    deviation: float = 0.0
    scaling: _Scaling | None = None


@click.command()
@asks_a_gateway
def nodes(**asked: Any) -> None:
    """Show how busy the nodes of a running gateway are: what each has, and what of it is leased."""
    present(_SUBJECT, NodesPage, view, Asked(**asked))


def view(page: NodesPage, paper: Paper) -> RenderableType:
    """Return the nodes as a table, the fleet beneath, and what scaling does where anything scales."""
    scaling = [] if page.scaling is None else list(_scaling(page.scaling))
    parts = _nodes(page, paper, other_lines=_LINES_BESIDE_NODES + len(scaling))
    return Group(*parts, facts(scaling)) if scaling else Group(*parts)


def _nodes(page: NodesPage, paper: Paper, *, other_lines: int) -> list[RenderableType]:
    if not page.nodes:
        return [Text("no node serves anything here; `fairlead check` shows what the configuration says")]
    each = page.nodes
    models = [_models(one) for one in each]
    mark = " (* in memory)" if any(told.endswith("*") or "*, " in told for told in models) else ""
    columns = (
        Column("node", [one.name for one in each]),
        Column("load", [_load(one, paper) for one in each]),
        Column("slots", [_of(one, "slots", amount) for one in each], is_number=True),
        Column("circuit", [_circuit(one) for one in each]),
        Column("health", [_health(one) for one in each]),
        Column("why", ["" if one.health is None else one.health.why for one in each], may_go=True),
        Column("errors", [_errors(one) for one in each], is_number=True, may_go=True),
        Column("late by", [_lateness(one) for one in each], is_number=True, may_go=True),
        Column("tokens", [_of(one, "tokens", amount) for one in each], is_number=True, may_go=True),
        Column("memory", [_of(one, "memory_bytes", size) for one in each], is_number=True, may_go=True),
        Column("GPU memory", [_of(one, "gpu_memory_bytes", size) for one in each], is_number=True, may_go=True),
        Column("requests/min", [_rate(one, "requests") for one in each], is_number=True, may_go=True),
        Column("tokens/min", [_rate(one, "tokens") for one in each], is_number=True, may_go=True),
        Column("it says itself", [_reported(one) for one in each], may_go=True),
        Column("prompts known", [_prefix(one) for one in each], may_go=True),
        Column(f"models{mark}", models, may_go=True),
    )
    drawn = table(paper, *columns, other_lines=other_lines)
    return [*drawn, Text(), *(Text(clean(line)) for line in _totals(page))]


def _load(node: _Node, paper: Paper) -> Text:
    limits = node.capacity.keys() - {"usd_per_hour", "requests_per_minute", "tokens_per_minute"}
    return bar(paper, node.utilization) if limits else Text("no limit known", style="dim")


def _of(node: _Node, resource: str, written: Callable[[float], str]) -> str:
    """Tell what is leased of what there is; nothing where neither is known."""
    leased, there = node.leased.get(resource), node.capacity.get(resource)
    if there is None:
        return written(leased) if leased is not None else ""
    return f"{written(leased or 0)}/{written(there)}"


def _rate(node: _Node, what: str) -> str:
    limit = node.capacity.get(f"{what}_per_minute")
    return "" if limit is None else f"{amount(node.used_last_minute.get(what, 0))}/{amount(limit)}"


def _circuit(node: _Node) -> Text:
    told = Text(clean(node.circuit).replace("_", " "), style=_STYLES.get(node.circuit, ""))
    if node.draining:
        told.append(", draining", style="yellow")
    if node.warmth < 1:
        told.append(f", {node.warmth:.0%} warm", style="yellow")
    return told


def _health(node: _Node) -> Text:
    """Name the verdict in its colour."""
    verdict = "" if node.health is None else node.health.verdict
    return Text(clean(verdict), style=_VERDICTS.get(verdict, "yellow"))


def _errors(node: _Node) -> str:
    return "" if node.health is None or not node.health.error_rate else percent(node.health.error_rate)


def _lateness(node: _Node) -> str:
    """Tell how much later than expected its first tokens come."""
    health = node.health
    return "" if health is None or health.excess_ms is None or health.excess_ms < 1 else f"{health.excess_ms:.0f} ms"


def _is_left_out(node: _Node) -> bool:
    return node.circuit == "open" or node.draining or (node.health is not None and node.health.verdict in _LEFT_OUT)


def _reported(node: _Node) -> str:
    told = node.reported
    if told is None:
        return ""
    parts = [] if told.running is None else [f"{told.running} running"]
    if told.waiting:
        parts.append(f"{told.waiting} waiting")
    if told.utilization is not None:
        parts.append(f"{percent(told.utilization)} used")
    return f"{', '.join(parts) or 'alive'}; {duration(max(told.age_s, 0.0))} ago"


def _prefix(node: _Node) -> str:
    """Tell what beginnings of prompts it is believed to hold, and how much of what was promised was found."""
    known = node.prefix
    if known is None or not (known.blocks or known.promised_tokens):
        return ""
    told = amount(known.blocks) + (" block" if known.blocks == 1 else " blocks")
    if known.promised_tokens:
        found = percent(known.found_tokens / known.promised_tokens)
        told += f", {found} of {amount(known.promised_tokens)} tokens found"
    return told


def _models(node: _Node) -> str:
    """Name the models, those in the node's memory first, as far as there is room for them."""
    loaded = set() if node.reported is None else set(node.reported.loaded)
    told = ""
    for at, name in enumerate(sorted(node.models, key=lambda name: name not in loaded)):
        marked = name + ("*" if name in loaded else "")
        if told and len(told) + len(marked) > _MODELS_LETTERS:
            return f"{told}, +{len(node.models) - at}"
        told += (", " if told else "") + marked
    return told


def _totals(page: NodesPage) -> Iterable[str]:
    known = [one for one in page.nodes if one.capacity.get("slots") is not None]
    leased = sum(one.leased.get("slots", 0) for one in known)
    slots = sum(one.capacity["slots"] for one in known)
    tasks = sum(one.leased.get("slots", 0) for one in page.nodes)
    parts = [count(len(page.nodes), "node"), f"{amount(tasks)} slots leased"]
    if slots:
        parts[1] = f"{amount(leased)} of {amount(slots)} slots leased ({percent(leased / slots)})"
        if tasks > leased:
            parts.append(f"{amount(tasks - leased)} more where no limit is known")
    if page.deviation:
        parts.append(f"loads differ by {percent(page.deviation)}")
    usd_per_hour = sum(one.capacity.get("usd_per_hour", 0) for one in page.nodes)
    if usd_per_hour:
        parts.append(f"${usd_per_hour:.2f} an hour")
    yield ", ".join(parts)
    away = [one.name for one in page.nodes if _is_left_out(one)]
    if away:
        yield f"given no tasks: {', '.join(away)}"


def _scaling(told: _Scaling) -> Iterator[tuple[str, str, str]]:
    """Tell the plan and the last steps, the newest first."""
    yield "scaling", told.why or "the first plan is not made yet", ""
    steps = [one for one in told.history if one.said != told.why]
    for step in reversed(steps[-_STEPS_SHOWN:]):
        yield "", f"{duration(max(step.age_s, 0.0))} ago: {step.said}", "yellow" if step.what == "trouble" else "dim"
