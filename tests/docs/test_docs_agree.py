"""What the pages list is what the program has: keys and defaults, faults, circuits, paths, headers, packages, names."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from docs_shared import PAGES, ROOT, make_targets, prose, tables
from msgspec import inspect as kinds

import fairlead
from fairlead.admission.config import QueueConfig, WaitLimits
from fairlead.balancing.config import LoadBalancerConfig
from fairlead.cli import COMMANDS
from fairlead.config import schema
from fairlead.domain import Capacity, Price, RoutingStrategy, TaskCategory
from fairlead.engine.dispatch import Phase
from fairlead.engine.faults import TREATMENTS
from fairlead.errors import Fault
from fairlead.gateway.app import OPERATIONS
from fairlead.gateway.wishes import WISH_HEADERS
from fairlead.health import CircuitBreakerConfig
from fairlead.health.breaker import TRANSITIONS, Circuit
from fairlead.health.config import CheckingConfig, DegradationConfig, HealthConfig, HedgingConfig
from fairlead.load.config import PrefixConfig
from fairlead.routing.config import RouteCacheConfig, RoutingConfig, Weights
from fairlead.scaling.config import ScalingConfig

DOCS = ROOT / "docs"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "The file": schema.Config,
    "nodes": schema.NodeConfig,
    "nodes[].models": schema.ServedModel,
    "nodes[].capacity": Capacity,
    "nodes[].timeouts": schema.NodeTimeouts,
    "models": schema.ModelConfig,
    "models[].price": Price,
    "models[].timeouts": schema.ModelTimeouts,
    "routing": RoutingConfig,
    "routing.weights": Weights,
    "routing.cache": RouteCacheConfig,
    "cascades": schema.CascadeConfig,
    "cascades[].check": schema.CheckConfig,
    "state": schema.StateConfig,
    "queue": QueueConfig,
    "queue.max_wait_s": WaitLimits,
    "load_balancer": LoadBalancerConfig,
    "prefix": PrefixConfig,
    "scaling": ScalingConfig,
    "circuit_breaker": CircuitBreakerConfig,
    "health": HealthConfig,
    "health.check": CheckingConfig,
    "hedging": HedgingConfig,
    "degradation": DegradationConfig,
    "timeouts": schema.Timeouts,
    "retries": schema.Retries,
    "keys": schema.KeyConfig,
    "limits": schema.Limits,
}


def structs(kind: kinds.Type) -> set[type[Any]]:
    """Return every struct that a type is made of."""
    found: set[type[Any]] = set()
    if isinstance(kind, kinds.StructType):
        found = {kind.cls}.union(*(structs(field.type) for field in kind.fields))
    elif isinstance(kind, kinds.UnionType):
        found = found.union(*map(structs, kind.types))
    elif isinstance(kind, kinds.VarTupleType):
        found = structs(kind.item_type)
    elif isinstance(kind, kinds.DictType):
        found = structs(kind.value_type)
    return found


def shown(field: msgspec.structs.FieldInfo) -> set[str]:
    """Return how the default of a key may be written."""
    if field.required:
        return {"required"}
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if default is None:
        return {"none", "derived"}
    if isinstance(default, msgspec.Struct):
        return {"as below"}
    if default in ((), {}):
        return {"empty"}
    if isinstance(default, tuple):
        return {", ".join(default)}
    if isinstance(default, bool):
        return {str(default).lower()}
    return {f"{default:g}" if isinstance(default, float) else str(default)}


def test_every_part_of_the_configuration_has_a_section() -> None:
    assert set(SECTIONS.values()) == structs(kinds.type_info(schema.Config))


@pytest.mark.parametrize("heading", SECTIONS)
def test_configuration_keys_and_defaults(heading: str) -> None:
    rows = tables(DOCS / "configuration.md")[heading]
    fields = msgspec.structs.fields(SECTIONS[heading])
    assert [row[0] for row in rows] == [field.encode_name for field in fields]
    for (key, default, meaning), field in zip(rows, fields, strict=True):
        assert default in shown(field), key
        assert meaning, key


def test_faults() -> None:
    rows = tables(DOCS / "architecture.md")["The dispatch"]
    told = {row[0].split()[0]: tuple(row[1:]) for row in rows}
    yes = {True: "yes", False: "no"}
    assert told == {
        str(fault): (str(one.blame), yes[one.moves_on], yes[one.is_budgeted]) for fault, one in TREATMENTS.items()
    }
    assert set(TREATMENTS) == set(Fault)


def test_circuits() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    arrows = {arrow for arrow in drawn if arrow[0] in set(Circuit)}
    assert arrows == {(str(before), str(after), str(cause)) for (before, cause), after in TRANSITIONS.items()}


def test_phases_of_a_dispatch() -> None:
    section = (DOCS / "architecture.md").read_text().partition("## The dispatch")[2].partition("## The circuit")[0]
    drawn = re.findall(r"^    (\w+) --> (\w+): ", section, re.MULTILINE)
    assert {phase for arrow in drawn for phase in arrow} == set(Phase)


def test_rooms() -> None:
    text = (DOCS / "architecture.md").read_text()
    rooms = {path.name for path in (ROOT / "src" / "fairlead").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"{room}/" not in text} == set()


def test_paths_and_headers() -> None:
    text = (DOCS / "http-api.md").read_text()
    gateway = ROOT / "src" / "fairlead" / "gateway"
    written = {
        path
        for file in ("admin.py", "feedback.py", "models.py")
        for path in re.findall(r'"(/[a-z/0-9]+)"', (gateway / file).read_text())
    }
    for path in {*OPERATIONS, *written}:
        assert path.rstrip("/") in text, path
    for page in (text, (ROOT / "README.md").read_text()):
        assert all(f"`{header.decode()}`" in page for header in WISH_HEADERS)
    assert all(f"`{category}`" in text for category in TaskCategory)


def test_strategies() -> None:
    told = {row[0].split()[0] for row in tables(ROOT / "README.md")["Which strategy"]}
    assert told == set(RoutingStrategy)


def test_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sections = tables(DOCS / "dependencies.md")
    told = [row[0] for row in sections["Dependencies"]]
    assert told == sorted(re.split("[>=;]", one)[0] for one in project["dependencies"])
    extras = {(row[0], row[1]) for row in sections["Extras"]}
    wanted = project["optional-dependencies"]
    assert extras == {(name, re.split("[>=;]", one)[0]) for name, several in wanted.items() for one in several}


def test_every_public_name_is_told_of() -> None:
    text = "".join(page.read_text() for page in PAGES)
    missing = [name for name in fairlead.__all__ if not re.search(rf"`[^`\n]*\b{name}\b", text)]
    assert missing == []


def test_every_public_name_can_be_had_and_is_listed() -> None:
    assert all(getattr(fairlead, name) for name in fairlead.__all__)
    assert set(fairlead.__all__) <= set(dir(fairlead))
    assert not hasattr(fairlead, "LoadBalance")


def test_what_most_programs_do_without_is_not_imported() -> None:
    code = "import sys, fairlead; print([name for name in sys.modules if name.startswith('fairlead.balancing')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_passing(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`fairlead ([a-z]+)", text)) <= set(COMMANDS)
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= make_targets()
    for path in re.findall(r"`(examples/[\w.]+)`", text):
        assert (ROOT / path).exists(), path
