"""What the types cannot say: whether the parts of a configuration fit together."""

import re
from collections.abc import Iterable, Iterator

from fairlead.config.addresses import is_loopback, parse_listen, split_url
from fairlead.config.problems import Part, Path, Written, nearest
from fairlead.config.schema import Config, NodeConfig, NodeKind
from fairlead.dialects.json_schema import schema_problem
from fairlead.domain import read_priority
from fairlead.scaling.config import ActuatorKind

Finding = tuple[Path, tuple[Part, ...]]
"""Where, and what is wrong there."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SENDABLE = re.compile("[!-~\xa1-\xff]*")
_SENDABLE_SPACED = re.compile("[\t -~\xa1-\xff]*")
_FRAMING = {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
_REMOTE = (NodeKind.OPENAI, NodeKind.OLLAMA)
AUTO = "auto"
"""The name by which callers leave the choice of the model to the router."""


def findings(config: Config, *, members: bool = True) -> Iterator[Finding]:
    """Give all that does not fit; without `members` the names in groups, aliases and fallbacks are not looked up."""
    yield from _listen(config)
    for place, node in enumerate(config.nodes):
        for key, text in _node(node):
            yield ("nodes", place, *key), (text,)
    yield from _keys(config)
    yield from _scaling(config)
    yield from _degradation(config)
    yield from _prices(config)
    for room, names in (("nodes", config.nodes), ("models", config.models), ("keys", config.keys)):
        yield from _duplicates(room, [item.name for item in names])
    yield from _names(config)
    yield from _cascades(config)
    yield from _cascades_as_models(config)
    if members:
        yield from _members(config)


def _listen(config: Config) -> Iterator[Finding]:
    try:
        host, _ = parse_listen(config.listen)
    except ValueError as error:
        yield ("listen",), (str(error),)
        return
    if not (is_loopback(host) or config.keys or config.insecure):
        advice = "add keys (fairlead key new makes one), or say insecure: true"
        yield ("listen",), (f"other machines can reach this address and no key guards it; {advice}",)


def _degradation(config: Config) -> Iterator[Finding]:
    steps = config.degradation.steps
    for place, step in enumerate(steps):
        if step in steps[:place]:
            yield ("degradation", "steps", place), (f"{step} is named twice",)


def _node(node: NodeConfig) -> Iterator[tuple[Path, str]]:
    if node.kind in _REMOTE:
        yield from _remote(node)
    elif node.url is not None:
        yield ("url",), f"a node of kind {node.kind} has no address; leave it out"
    if node.kind is NodeKind.COMMAND and not (node.command and node.command[0]):
        yield ("command",), "a node of kind command needs the program and its arguments as a list"
    if node.kind is not NodeKind.COMMAND and node.command is not None:
        yield ("command",), f"only a node of kind command runs a program, and this one is of kind {node.kind}"
    if node.concurrency is not None:
        yield from _concurrency(node)
    if node.models is not None and not node.models:
        yield ("models",), "list one model at least, or leave the key out and the node is asked"
    if node.api_key is not None and not _sendable(node.api_key.reveal()):
        yield ("api_key",), "expected a key without spaces, line ends or characters beyond Latin-1"
    for name, value in node.headers.items():
        yield from _header(Written(name), value.reveal())


def _remote(node: NodeConfig) -> Iterator[tuple[Path, str]]:
    if node.url is None:
        yield (), 'the key "url" is missing'
        return
    try:
        split_url(node.url)
    except ValueError as error:
        yield ("url",), str(error)


def _concurrency(node: NodeConfig) -> Iterator[tuple[Path, str]]:
    if node.kind is not NodeKind.COMMAND:
        yield ("concurrency",), "is for commands; write capacity: {slots: ...} here"
    elif node.capacity.slots != node.concurrency:
        yield ("concurrency",), "says the same as capacity.slots; write one of them"


def _header(name: Written, value: str) -> Iterator[tuple[Path, str]]:
    if not _HEADER_NAME.fullmatch(name):
        yield ("headers", name), "is no name of a header"
    elif name.lower() in _FRAMING:
        yield ("headers", name), "is set by the connection itself; leave it out"
    elif not _sendable(value, spaces=True):
        yield ("headers", name), "expected a value without line ends or characters beyond Latin-1"


def _sendable(text: str, *, spaces: bool = False) -> bool:
    return bool((_SENDABLE_SPACED if spaces else _SENDABLE).fullmatch(text))


def _keys(config: Config) -> Iterator[Finding]:
    for place, key in enumerate(config.keys):
        if (key.key is None) == (key.key_sha256 is None):
            yield ("keys", place), ("write one of key and key_sha256 (fairlead key new makes both)",)
        for name in ("priority", "max_priority"):
            yield from _priority(("keys", place, name), getattr(key, name))
    digests: dict[bytes, int] = {}
    for place, key in enumerate(config.keys):
        if key.key is not None or key.key_sha256 is not None:
            first = digests.setdefault(key.digest(), place)
            if first != place:
                yield ("keys", place), ("is the same key as ", ("keys", first))


def _priority(path: Path, text: str | None) -> Iterator[Finding]:
    try:
        if text is not None:
            read_priority(text)
    except ValueError as error:
        yield path, (str(error),)


def _scaling(config: Config) -> Iterator[Finding]:
    scaling = config.scaling
    if scaling.min_nodes > scaling.max_nodes:
        yield ("scaling", "min_nodes"), (f"must not be above max_nodes ({scaling.max_nodes})",)
    if scaling.actuator is ActuatorKind.COMMAND and not scaling.command:
        yield ("scaling", "command"), ("the actuator command needs the program and its arguments as a list",)
    if scaling.actuator is not ActuatorKind.COMMAND and scaling.command is not None:
        yield ("scaling", "command"), ("is for the actuator command; say actuator: command, or leave it out",)


def _prices(config: Config) -> Iterator[Finding]:
    for place, model in enumerate(config.models):
        for name in ("input_usd_per_mtok", "output_usd_per_mtok") if model.price else ():
            if getattr(model.price, name) < 0:
                yield ("models", place, "price", name), ("expected a number, 0 or more",)


def _duplicates(room: str, names: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        first = seen.setdefault(name, place)
        if first != place and name:
            advice = "; give one of them another name" if room == "nodes" else ""
            yield (room, place), ("the name ", Written(name), " belongs to ", (room, first), f" already{advice}")


def _names(config: Config) -> Iterator[Finding]:
    for room in ("groups", "aliases"):
        if AUTO in getattr(config, room):
            yield (room, AUTO), ("auto is the name by which callers leave the choice to the router; use another",)
    for name in config.aliases.keys() & config.groups.keys():
        yield ("aliases", Written(name)), ("is the name of a group already",)
    for room in ("groups", "fallbacks"):
        for name, members in getattr(config, room).items():
            if not members:
                yield (room, Written(name)), ("list one model at least",)
            for place, member in enumerate(members):
                if member == name:
                    yield (room, Written(name), place), ("stands for itself; leave it out",)


def _cascades(config: Config) -> Iterator[Finding]:
    taken = {AUTO, *config.groups, *config.aliases, *(model.name for model in config.models)}
    taken |= {served.public for node in config.nodes for served in node.models or ()}
    names = {cascade.name for cascade in config.cascades}
    yield from _duplicates("cascades", [cascade.name for cascade in config.cascades])
    for place, cascade in enumerate(config.cascades):
        if cascade.name in taken:
            yield ("cascades", place, "name"), ("is the name of something else already",)
        if len(cascade.models) < 2:
            yield ("cascades", place, "models"), ("list two models at least, from cheap to dear",)
        for at, model in enumerate(cascade.models):
            if model in cascade.models[:at]:
                said = "the model ", Written(model), " stands here twice; leave one of them out"
                yield ("cascades", place, "models", at), said
            if model in names:
                yield ("cascades", place, "models", at), ("is a cascade; name its models instead",)
        schema = cascade.check.json_schema
        problem = None if schema is None else schema_problem(schema)
        if problem is not None:
            yield ("cascades", place, "check", "json_schema"), (problem,)


def _cascades_as_models(config: Config) -> Iterator[Finding]:
    """Only callers name a cascade: it stands for no model elsewhere."""
    named: list[tuple[Path, str]] = [(("aliases", Written(name)), target) for name, target in config.aliases.items()]
    named += [(("fallbacks", Written(name)), name) for name in config.fallbacks]
    for room in ("groups", "fallbacks"):
        for name, members in getattr(config, room).items():
            named += [((room, Written(name), place), member) for place, member in enumerate(members)]
    names = {cascade.name for cascade in config.cascades}
    for path, name in named:
        if name in names:
            yield path, (Written(name), " is a cascade, and cannot be used here; name a model instead")


def _members(config: Config) -> Iterator[Finding]:
    if not config.nodes or any(node.models is None for node in config.nodes):
        return  # a node that will be asked may know any name
    models = {served.public for node in config.nodes for served in node.models or ()}
    for place, model in enumerate(config.models):
        yield from _known(("models", place, "name"), model.name, models, ": add it to the models of a node")
    models |= {model.name for model in config.models}
    cascades = {cascade.name for cascade in config.cascades}  # are told of elsewhere
    choices = models | config.groups.keys() | cascades
    for name, members in config.groups.items():
        for place, member in enumerate(members):
            yield from _known(("groups", Written(name), place), member, models | cascades)
    for number, cascade in enumerate(config.cascades):
        for place, member in enumerate(cascade.models):
            yield from _known(("cascades", number, "models", place), member, choices)
    for name, target in config.aliases.items():
        yield from _known(("aliases", Written(name)), target, choices)
    for name, members in config.fallbacks.items():
        yield from _known(("fallbacks", Written(name)), name, choices)
        for place, member in enumerate(members):
            yield from _known(("fallbacks", Written(name), place), member, choices)


def _known(
    path: Path, name: str, known: Iterable[str], otherwise: str = " and models does not declare it"
) -> Iterator[Finding]:
    if name in known:
        return
    meant = nearest(name, sorted(known))
    advice: tuple[Part, ...] = ("; did you mean ", Written(meant), "?") if meant else ()
    yield path, ("no node serves ", Written(name), otherwise, *advice)
