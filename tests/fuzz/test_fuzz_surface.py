"""Whatever is asked of any path, well-formed or not: no 500, no crash, the right shape, no leak, no secret told.

The requests are made by schemathesis from `docs/openapi.yaml`, in the shapes that it describes and in shapes that it
rules out, against a gateway with a node of each dialect.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import requests
import schemathesis
from fuzz_shared import CANARY, KEYS, SECRETS, House, chat, post, talk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_fuzz_description import DESCRIBED, PASSED_ON, PLACES

MODELS = ["m", "o", "both", "auto", "fast", "careful", "nobody-has-this"]
NEVER = {500, 501, 502, 504, 505}
"""Nodes that do no wrong give no cause for these, but for 504 where the request names a deadline."""
DEADLINES = {"x-fairlead-deadline-ms", "x-fairlead-timeouts"}
CHECKED = [status_code_conformance, content_type_conformance, response_schema_conformance]
AUTHORIZATION = st.sampled_from([f"Bearer {KEYS['ops']}"] * 6 + [f"Bearer {KEYS['bob']}"] * 3 + ["Bearer x", "", "y"])


class Surface:
    """The gateway, and its description with names that exist there."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.session = requests.Session()
        self.session.trust_env = False
        words = self._decide()
        schemas = words["components"]["schemas"]
        schemas["ModelName"] = {"enum": MODELS}
        words["paths"]["/v1/{operation}"]["post"]["parameters"][0]["schema"] = {"enum": ["responses", "rerank"]}
        for item in words["paths"].values():
            for operation in item.values():
                for parameter in operation.get("parameters", ()):
                    if parameter.get("name") == "name":
                        parameter["schema"] = {"enum": ["a", "b", "c"]}
        self.schema = schemathesis.openapi.from_dict(words)

    def _decide(self) -> dict[str, Any]:
        """Let alice ask, and give the names of her decisions away."""
        words = deepcopy(DESCRIBED)
        ids = ["x-1"]
        for model in ("m", "o"):
            key = f"authorization: Bearer {KEYS['alice']}"
            answer = talk(self.house, post("/v1/chat/completions", chat(CANARY, model), key))
            assert CANARY.encode() in answer
            ids.append(answer.partition(b"x-fairlead-decision: ")[2].split(b"\r\n")[0].decode())
        words["paths"]["/v1/decisions/{id}"]["get"]["parameters"][0]["schema"] = {"enum": ids}
        words["components"]["schemas"]["Feedback"]["properties"]["id"] = {"enum": ids}
        return words

    def probe(self, case: Case[Any], authorization: str) -> None:
        """Send one request and judge its answer."""
        headers = {"authorization": authorization} if authorization else {}
        response = case.call(base_url=self.house.url, session=self.session, headers=headers, timeout=20)
        answer = response.content
        assert response.status_code not in NEVER - ({504} if DEADLINES & set(case.headers or {}) else set()), answer
        assert not any(secret in answer for secret in SECRETS)
        assert not any(secret.decode() in str(response.headers) for secret in SECRETS)
        if case.operation.path != PASSED_ON[1]:
            judge(case.operation.path, response.status_code, response.headers.get("content-type", [""])[0], answer)
            if response.status_code not in (401, 421):
                case.validate_response(response, checks=CHECKED)


def judge(path: str, status: int, kind: str, body: bytes) -> None:
    """Check that an answer has the shape that its path promises."""
    if status >= 400 and path != "/ready":
        if kind == "text/plain":
            assert path.startswith("/api/")
            assert status in (404, 405)
        else:
            error = json.loads(body)["error"]
            assert isinstance(error, str if path.startswith("/api/") else dict)
    elif kind == "text/event-stream":
        assert body.endswith(b"data: [DONE]\n\n")
    elif kind == "application/x-ndjson":
        assert json.loads(body.splitlines()[-1])["done"] is True


@pytest.fixture(scope="module")
def surface() -> Iterator[Surface]:
    with House(with_keys=True) as house:
        yield Surface(house)


def undrain(house: House) -> None:
    """Take back the nodes that a probe drained."""
    for name in ("a", "b"):
        house.running.orchestrator.change_node(name, "undrain")


def fuzz(surface: Surface, place: tuple[str, str], mode: GenerationMode, examples: int) -> None:
    method, path = place
    operation = surface.schema[path][method]

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), authorization=AUTHORIZATION)
    def probe(case: Case[Any], authorization: str) -> None:
        surface.probe(case, authorization)

    probe()
    surface.session.close()
    surface.house.do(lambda: undrain(surface.house))
    surface.house.check()


def has_input(place: tuple[str, str]) -> bool:
    operation = DESCRIBED["paths"][place[1]][place[0].lower()]
    return "parameters" in operation or "requestBody" in operation


def can_be_wrong(place: tuple[str, str]) -> bool:
    """Tell whether the description rules anything out: what takes any text cannot be given a wrong one."""
    return has_input(place) and place not in {("GET", "/v1/models"), ("GET", "/v1/models/{id}")}


WELL_FORMED = sorted(PLACES)
ILL_FORMED = sorted(filter(can_be_wrong, PLACES))


@pytest.mark.parametrize("place", WELL_FORMED, ids=" ".join)
def test_requests_as_described(surface: Surface, place: tuple[str, str]) -> None:
    fuzz(surface, place, GenerationMode.POSITIVE, 40 if has_input(place) else 3)


@pytest.mark.parametrize("place", ILL_FORMED, ids=" ".join)
def test_requests_that_the_description_rules_out(surface: Surface, place: tuple[str, str]) -> None:
    fuzz(surface, place, GenerationMode.NEGATIVE, 40)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("place", ILL_FORMED, ids=" ".join)
def test_many_more_of_both(surface: Surface, place: tuple[str, str], mode: GenerationMode) -> None:
    fuzz(surface, place, mode, 400)
