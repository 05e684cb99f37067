"""`docs/openapi.yaml` describes the gateway as it is: every path and method, every header, and nothing else."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml

from fairlead.config import Config
from fairlead.dialects import Dialect
from fairlead.domain import RoutingStrategy, TaskCategory
from fairlead.gateway.app import OPERATIONS
from fairlead.gateway.build import build_gateway
from fairlead.gateway.feedback import MAX_COMMENT_LETTERS
from fairlead.gateway.http import Request
from fairlead.gateway.wishes import WISH_HEADERS
from fairlead.telemetry.event_words import KINDS

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
PLACES = {(method.upper(), path) for path, item in DESCRIBED["paths"].items() for method in item}
ANSWERED_BY_THE_GATEWAY_ITSELF = {("GET", "/health"), ("GET", "/ready")}
PASSED_ON = ("POST", "/v1/{operation}")


class _Answer:
    """Takes the first answer."""

    def __init__(self) -> None:
        self.status = 0
        self.on_gone = self.on_pressure = None

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        del headers, body
        self.status = status


def gateway() -> Any:
    async def build() -> Any:
        return build_gateway(Config(), {}, 8400)[0]

    return asyncio.run(build())


def asked(method: str, path: str) -> int:
    """Return the status with which a gateway without nodes answers."""
    answer = _Answer()
    gateway()(Request(method, path, "", {b"host": b"localhost"}, b""), answer)
    return answer.status


def test_it_is_proper_openapi() -> None:
    assert schemathesis.openapi.from_dict(DESCRIBED).validate() is None


def test_all_fixed_places_of_the_program_are_described_and_no_others() -> None:
    program = set(gateway()._routes) | {("POST", path) for path in OPERATIONS} | ANSWERED_BY_THE_GATEWAY_ITSELF
    assert {place for place in PLACES if "{" not in place[1]} == program


@pytest.mark.parametrize(("method", "path"), sorted(place for place in PLACES if "{" in place[1]))
def test_places_with_an_argument_are_there(method: str, path: str) -> None:
    concrete = re.sub(r"\{\w+\}", "thing", path)
    found = gateway()._with_argument(method, concrete)
    assert (found is not None) is ((method, path) != PASSED_ON)
    assert asked(method, concrete) not in (200, 405)


def test_what_is_not_described_is_not_there() -> None:
    paths = {path for _, path in PLACES if "{" not in path}
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        for path in paths - {path for one, path in PLACES if one == method}:
            is_passed_on = method == "POST" and path.startswith("/v1/")
            assert asked(method, path) == (400 if is_passed_on else 405 if path not in ("/health", "/ready") else 404)


def test_each_path_is_in_its_dialect() -> None:
    for path, (dialect, _) in OPERATIONS.items():
        operation = DESCRIBED["paths"][path]["post"]
        assert operation["tags"] == [dialect]
        assert operation["responses"]["default"]["$ref"].endswith(
            "OllamaError" if dialect is Dialect.OLLAMA else "OpenAIError"
        )


def test_headers() -> None:
    parts = DESCRIBED["components"]["parameters"].values()
    wishes = {part["name"].encode() for part in parts}
    assert wishes == WISH_HEADERS
    for path in OPERATIONS:
        assert len(DESCRIBED["paths"][path]["post"]["parameters"]) == len(WISH_HEADERS)
    written = set(re.findall(r"x-fairlead-[a-z-]+(?=:)", (ROOT / "src/fairlead/gateway/reply.py").read_text()))
    assert set(DESCRIBED["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["headers"]) == written


def test_words() -> None:
    schemas, parameters = DESCRIBED["components"]["schemas"], DESCRIBED["components"]["parameters"]
    assert schemas["StrategyName"]["enum"] == list(RoutingStrategy)
    assert parameters["Category"]["schema"]["enum"] == list(TaskCategory)
    assert DESCRIBED["paths"]["/admin/events"]["get"]["parameters"][3]["schema"]["enum"] == list(KINDS)
    assert schemas["Feedback"]["properties"]["comment"]["maxLength"] == MAX_COMMENT_LETTERS
