"""Of a prompt nothing is stored unless it was asked for, and then no more than that."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from persistence_shared import opened, row

from fairlead.config.schema import LogPrompts
from fairlead.persistence.prompts import PromptKeeper, redact

SECRET = "my-very-private-prompt"


def stored(path: Path, policy: LogPrompts, *prompts: str) -> list[str | None]:
    with opened(path, log_prompts=policy) as store:
        for number, prompt in enumerate(prompts):
            store.add_decision(row(f"d{number}", prompt=prompt))
        assert store.flush()
        return [one.prompt for one in reversed(store.decisions())]


@pytest.mark.parametrize("policy", [LogPrompts.NONE, LogPrompts.HASH])
def test_no_word_reaches_the_disk(tmp_path: Path, policy: LogPrompts) -> None:
    path = tmp_path / "state.db"
    (kept,) = stored(path, policy, SECRET)
    assert (kept is None) is (policy is LogPrompts.NONE)
    with opened(path, decisions_per_s=0.0, log_prompts=policy) as store:
        store.add_decision(row("counted", prompt=SECRET))
        assert store.flush()
        for one in tmp_path.iterdir():
            assert SECRET.encode() not in one.read_bytes()


def test_hashes_tell_equal_prompts_and_only_within_one_database(tmp_path: Path) -> None:
    first, again, other = stored(tmp_path / "a.db", LogPrompts.HASH, "x", "x", "y")
    (elsewhere,) = stored(tmp_path / "b.db", LogPrompts.HASH, "x")
    assert first == again
    assert len({first, other, elsewhere}) == 3
    assert first is not None
    assert len(first) == 64
    assert stored(tmp_path / "a.db", LogPrompts.HASH, "x")[0] == first


def test_full_is_full(tmp_path: Path) -> None:
    assert stored(tmp_path / "a.db", LogPrompts.FULL, SECRET, "half \ud800 letter") == [SECRET, "half ? letter"]


def test_the_salt_stays_when_a_file_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    salts = set()
    for _ in range(2):
        with opened(path):
            pass
        with closing(sqlite3.connect(path)) as database:
            salts.update(database.execute("SELECT value FROM meta WHERE key = 'salt'").fetchall())
    assert len(salts) == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Bob.Smith+x@mail.example.org now", "write to [email] now"),
        ("use sk-proj-abcDEF123456 please", "use [key] please"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [key]"),
        ('{"password": "hunter2", "n": 1}', '{"password": [key], "n": 1}'),
        ("export OPENAI_API_KEY=secret!", "export OPENAI_API_KEY=[key]"),
        ("hash d41d8cd98f00b204e9800998ecf8427e", "hash [key]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\nabc\n-----END PRIVATE KEY----- end", "[key] end"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and cut", "[key]"),
        ("call +49 (171) 234-5678", "call [number]"),
        ("card 4111 1111 1111 1111.", "card [number]."),
        ("open /home/bob/notes.txt and ~/a/b", "open [path] and [path]"),
        (r"open C:\Users\bob\x.txt", "open [path]"),
        ("in src/fairlead/router.py", "in [path]"),
        ("see https://user:pw@intern.example.org/a?b=c", "see [url]"),
    ],
)
def test_what_looks_private_is_masked(text: str, masked: str) -> None:
    assert redact(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Write a function that adds 2 and 3, and/or multiplies them.",
        "def max_token(token): return token + 1",
        "Since 2024 the version is 1.2.3; 12345 rows.",
        "if a == b or c != d: pass  # the secret of good code",
    ],
)
def test_what_does_not_look_private_stays(text: str) -> None:
    assert redact(text) == text


WORDS = st.text("ab c,.\n(){}", max_size=30)


@given(WORDS, st.from_regex(r"[a-z]{3,8}\.[a-z]{2,8}@[a-z]{3,8}\.(com|org)", fullmatch=True), WORDS)
@example("", "bob.smith@example.org", "")
def test_an_address_never_survives(before: str, address: str, after: str) -> None:
    assert address not in redact(f"{before} {address} {after}")


@given(st.from_regex(r"(?a)(sk-|ghp_|fl-)[A-Za-z0-9]{20,40}", fullmatch=True), WORDS)
def test_a_key_never_survives(key: str, after: str) -> None:
    assert key[6:] not in redact(f"my key is {key} {after}")


@given(st.text())
def test_any_text_can_be_kept(text: str) -> None:
    for policy in LogPrompts:
        kept = PromptKeeper(policy, b"salt").keep(text)
        assert (kept is None) is (policy is LogPrompts.NONE)
        if kept is not None:
            kept.encode()
