"""`fairlead check`: whether a configuration is right, and what it says."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairlead.config import Config, ModelConfig, NodeConfig
    from fairlead.config.checks import Finding
    from fairlead.config.schema import KeyConfig
    from fairlead.scaling.config import ScalingConfig


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check FILE and show what it says; problems are listed with their lines, and the exit code is 2."""
    from fairlead.config import load

    config = load(file, look=_unusable)
    show(config)
    click.echo(f"{file} is right.")


def _unusable(config: "Config") -> "Iterator[Finding]":
    """Give what is named and cannot be had, found out as `fairlead serve` does: by building it."""
    from fairlead.categories import detector_named
    from fairlead.orchestrator import checks
    from fairlead.routing.catalog import make_strategy

    yield from _built(("strategy",), make_strategy, config.strategy)
    yield from _built(("detector",), detector_named, config.detector)
    for place, cascade in enumerate(config.cascades):
        if cascade.check.plugin is not None:
            yield from _built(("cascades", place, "check", "plugin"), checks.plugin_named, cascade.check.plugin)


def _built(path: "tuple[str | int, ...]", build: "Callable[[str], object]", name: str) -> "Iterator[Finding]":
    from fairlead.config.problems import Foreign
    from fairlead.errors import FairleadError

    try:
        build(name)
    except FairleadError as error:
        yield path, (Foreign(str(error)),)
    except Exception as error:  # noqa: BLE001  # somebody else's code, registered by entry point
        yield path, (Foreign(f"cannot be loaded: {error!r}"),)


def show(config: "Config") -> None:
    """Print what a configuration says; keys, headers, arguments and paths in addresses stay unseen."""
    from fairlead.cli.output import print_table

    rows = [_node_row(node) for node in config.nodes]
    heads = ("node", "kind", "where", "models", "slots", "weight", "other limits")
    shown = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    print_table(heads[:shown], [row[:shown] for row in rows], numbers=("slots", "weight"))
    click.echo()
    if config.models:
        print_table(("model", "context", "can", "$ per Mtok", "good at"), [_model_row(m) for m in config.models])
        click.echo()
    for head, text in _facts(config):
        click.echo(f"{head:<10}{text}")
    click.echo()


def _node_row(node: "NodeConfig") -> tuple[str, ...]:
    return (
        node.name,
        str(node.kind),
        _where(node),
        "asked of the node" if node.models is None else ", ".join(model.public for model in node.models),
        str(node.capacity.slots or "?"),
        f"{node.weight:g}",
        _limits(node),
    )


def _limits(node: "NodeConfig") -> str:
    from fairlead.cli.capacity import amount, size

    has = node.capacity
    words = {"tokens": "tokens", "requests_per_minute": "requests/min", "tokens_per_minute": "tokens/min"}
    told = [f"{amount(limit)} {word}" for name, word in words.items() if (limit := getattr(has, name)) is not None]
    told += [size(has.memory_bytes)] if has.memory_bytes is not None else []
    told += [f"{size(has.gpu_memory_bytes)} GPU"] if has.gpu_memory_bytes is not None else []
    return ", ".join(told)


def _where(node: "NodeConfig") -> str:
    from fairlead.config.addresses import split_url

    if node.url is not None:
        parts = split_url(node.url)
        return parts.netloc if parts.scheme == "http" else f"{parts.scheme}://{parts.netloc}"
    return node.command[0].rpartition("/")[2] if node.command else "in this process"


def _model_row(model: "ModelConfig") -> tuple[str, ...]:
    price = model.price
    return (
        model.name,
        str(model.context_tokens or "?"),
        "?" if model.capabilities is None else ", ".join(sorted(model.capabilities)),
        f"{price.input_usd_per_mtok:g} in, {price.output_usd_per_mtok:g} out" if price else "?",
        ", ".join(f"{category} {skill:g}" for category, skill in model.skill.items()) or "?",
    )


def _facts(config: "Config") -> list[tuple[str, str]]:
    from fairlead.config.addresses import is_loopback

    reach = "this machine only" if is_loopback(config.host) else "other machines too"
    facts = [("listen", f"{config.listen} ({reach})"), ("strategy", config.strategy)]
    for name, members in config.groups.items():
        facts.append(("group", f"{name} = {', '.join(members)}"))
    for name, target in config.aliases.items():
        facts.append(("alias", f"{name} = {target}"))
    for name, members in config.fallbacks.items():
        facts.append(("fallback", f"{name}, then {', '.join(members)}"))
    facts += [("cascade", f"{one.name} = {' > '.join(one.models)}") for one in config.cascades]
    if config.state.enabled:
        facts.append(("state", config.state.path or "in your state folder, one file for each port"))
    if config.state.log_prompts != "none":
        facts.append(("prompts", f"are stored: {config.state.log_prompts.value}"))
    facts += [("scaling", told)] if (told := _scaling(config.scaling)) else []
    facts.append(("callers", _callers(config)))
    facts += [("key", f"{key.name}: {told}") for key in config.keys if (told := _terms(key))]
    return [*facts, ("admin", _admins(config))]


def _scaling(scaling: "ScalingConfig") -> str:
    if scaling.actuator == "none":
        return ""
    by = "dry run: it says what it would do"
    if scaling.actuator == "processes":
        by = "by local model servers"
    elif scaling.command:
        by = f"by {scaling.command[0].rpartition('/')[2]}"
    return f"{scaling.min_nodes} to {scaling.max_nodes} nodes, {by}"


def _terms(key: "KeyConfig") -> str:
    """Tell what a key's requests get and may, where that is not the usual."""
    from fairlead.cli.capacity import amount

    told = [f"tenant {key.tenant}"] if key.tenant is not None else []
    told += [f"share {key.share:g}"] if key.share != 1 else []
    told += [f"priority {key.priority}"] if key.priority is not None else []
    told += [f"never before {key.max_priority}"] if key.max_priority is not None else []
    told += [f"{amount(key.requests_per_minute)} requests/min"] if key.requests_per_minute is not None else []
    told += [f"{amount(key.tokens_per_minute)} tokens/min"] if key.tokens_per_minute is not None else []
    return ", ".join(told)


def _callers(config: "Config") -> str:
    if not config.keys:
        return "anyone who can reach the address: there are no keys"
    return "need a key: " + ", ".join(key.name for key in config.keys)


def _admins(config: "Config") -> str:
    from fairlead.config.addresses import is_loopback

    ways = [f"key {key.name}" for key in config.keys if key.admin]
    ways += [f"socket {config.unix_socket}"] if config.unix_socket else []
    if not config.keys and is_loopback(config.host):
        ways.append("everybody on this machine, as there are no keys")
    return ", ".join(ways) or "nobody: there is no admin key and no unix_socket"
