"""No secret is ever shown: not by a value, and not by any complaint about a file, however it was mangled."""

import copy
import pickle
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Secret, loads
from fairlead.config.litellm import import_litellm
from fairlead.errors import ConfigError

API_KEY = "sk-live-9Zq4Tn8Wc2Lx7Rb5Vd1K"
HEADER = "Bearer Jm3Xp6Qs9Yt2Gh5Fk8"
CALLER_KEY = "fl-Uw4Ie7Oa1Zx3Cv6Bn9Mq2Ws5Ed8Rf0T"
FROM_ENV = "E5tY8uI1oP4aS7dF0gH3jK6"
SECRETS = [API_KEY, HEADER, CALLER_KEY, FROM_ENV]
ENV = {"SECRET_FROM_ENV": FROM_ENV, "PORT": "8000"}
TEXT = f"""\
listen: 127.0.0.1:8400
nodes:
  - name: gpu-1
    url: http://127.0.0.1:${{PORT}}/v1
    api_key: {API_KEY}
    models: [m, n]
    headers: {{Authorization: "{HEADER}"}}
    weight: 2
  - name: gpu-2
    url: http://127.0.0.1:8001/v1
    api_key: ${{SECRET_FROM_ENV}}
    models: [m]
groups: {{fast: [m, n]}}
keys:
  - name: alice
    key: {CALLER_KEY}
"""
WINDOW = 8
PIECES = ["", *"\n :[]{}\"'*&!#x\t\x00", "  ", ": ", "- ", "${", "key: "]


def shows_a_secret(said: str) -> bool:
    pieces = (secret[i : i + WINDOW] for secret in SECRETS for i in range(len(secret) - WINDOW + 1))
    return any(piece in said for piece in pieces if piece not in "Bearer ")


def complaint(text: str) -> str:
    try:
        loads(text, "f.yaml", ENV)
    except ConfigError as error:
        return f"{error!s}{error!r}{error.__cause__!r}"
    return ""


def test_the_file_as_it_is() -> None:
    config = loads(TEXT, "f.yaml", ENV)
    said = f"{config!r}{config}"
    assert said.count("***") >= 8
    assert not shows_a_secret(said)


@given(st.data())
def test_mangled_text(data: st.DataObject) -> None:
    """Pieces are cut out, doubled or replaced anywhere, secrets included."""
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        put = data.draw(st.sampled_from(PIECES))
        text = text[:start] + put + text[end:]
    assert not shows_a_secret(complaint(text)), complaint(text)


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(place for key, value in inside for place in places(value, (*at, key)))]


TREE = yaml.safe_load(TEXT)
PLACES = [place for place in places(TREE) if place]


@given(st.sampled_from(PLACES), st.sampled_from(SECRETS), st.integers(0, 3))
def test_secrets_in_every_wrong_place(place: tuple[Any, ...], secret: str, way: int) -> None:
    """As any value, as a key, in a list and in a table, where anything else was expected."""
    tree = copy.deepcopy(TREE)
    holder = tree
    for step in place[:-1]:
        holder = holder[step]
    last = place[-1]
    value: Any = [secret, [secret], {secret: 1}, {"key": secret}][way]
    holder[last] = value
    assert not shows_a_secret(complaint(yaml.safe_dump(tree))), yaml.safe_dump(tree)
    if isinstance(last, str):
        holder[secret] = holder.pop(last)
        assert not shows_a_secret(complaint(yaml.safe_dump(tree))), yaml.safe_dump(tree)


WRONG = [
    "nodes: [{url: 'http://u:SECRET@h/v1'}]",
    "nodes: [{url: 'http://h/SECRET?key=SECRET'}]",
    "nodes: [{url: 'SECRET'}]",
    "nodes: [{url: 'http://h:SECRET'}]",
    "nodes: [{url: 'http://h', api_key: 'a SECRET'}]",
    "nodes: [{url: 'http://h', headers: {x: \"SECRET\\n\"}}]",
    "nodes: [{url: 'http://h', headers: {'x SECRET': a}}]",
    "nodes: [{url: 'http://h', models: [m], api_key: SECRET, region: SECRET, SECRET: SECRET}]",
    "nodes: [{url: 'http://h', models: [m], api_key: SECRET, kind: SECRET}]",
    "nodes: [{url: 'http://h', models: [m], api_key: SECRET}]\ngroups: {SECRET: [SECRET]}",
    "keys: [{name: SECRET, key: SECRET}, {name: SECRET, key: SECRET, key_sha256: SECRET}]",
    "seed: SECRET\nlisten: SECRET\nretries: SECRET\nSECRET: 1\nSECRET: 2",
    "a: *SECRET",
    "a: &SECRET 1\nb: &SECRET 2",
    'a: "\\SECRET"',
    "a: !SECRET x",
    "%SECRET",
]


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("secret", SECRETS[:1] + SECRETS[2:])
def test_complaints_that_could_quote(text: str, secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text.replace("SECRET", secret), "f.yaml", ENV)
    assert not shows_a_secret(str(caught.value)), str(caught.value)


def test_even_a_weak_secret_is_known_once_it_stood_in_its_place() -> None:
    text = "keys: [{name: a, key: hunter2}]\nseed: hunter2\nstrategy: [hunter2]\nhunter2: 1"
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml", {})
    assert "hunter2" not in str(caught.value)
    assert "seed: expected a whole number, not the text that stands here" in str(caught.value)


def test_the_wrapper() -> None:
    secret = Secret(API_KEY)
    assert secret.reveal() == API_KEY
    assert (str(secret), repr(secret), f"{secret}", "%s" % secret) == ("***",) * 4  # noqa: UP031 - all ways to print
    assert secret == Secret(API_KEY)
    assert secret != Secret("other")
    assert secret != API_KEY
    assert len({secret, Secret(API_KEY)}) == 1
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_an_import_prints_no_key() -> None:
    text = f"""
model_list:
  - {{model_name: a, litellm_params: {{model: openai/a, api_key: {API_KEY}}}}}
general_settings: {{master_key: {CALLER_KEY}}}
"""
    assert not shows_a_secret(import_litellm(text))
