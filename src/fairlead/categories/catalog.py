"""Detectors by name: `rules`, `trained:PATH`, and those that others register under `fairlead.detectors`."""

from collections.abc import Callable
from pathlib import Path

from fairlead.categories.contract import Detector
from fairlead.categories.rules import RuleDetector
from fairlead.errors import FairleadError

ENTRY_POINTS = "fairlead.detectors"
"""Each entry point names a callable without arguments, such as a class, that gives a detector."""

TRAINED = "trained"
"""`trained:PATH` is a detector with the weights of that file, as `fairlead train` writes it."""

BUILT_IN: dict[str, Callable[[], Detector]] = {"rules": RuleDetector}


def detector_named(name: str) -> Detector:
    """Build the detector of that name; a built-in one wins.

    Raises FairleadError for an unknown name, naming those there are, and for a file that cannot be used.
    """
    kind, _, path = name.partition(":")
    if kind == TRAINED:
        return load_detector(path)
    detector = (BUILT_IN.get(name) or _registered(name))()
    if not callable(getattr(detector, "detect", None)):
        kind = type(detector).__name__
        raise FairleadError(f"{name!r} of {ENTRY_POINTS} gives {kind!r}, which has no detect(prompt)")
    return detector


def load_detector(path: str | Path) -> Detector:
    """Build a detector from a file of weights. Raises FairleadError naming the file where it cannot be used."""
    from fairlead.categories.trained import TrainedDetector  # most fleets do without
    from fairlead.categories.weights import parse

    if not str(path):
        raise FairleadError(
            f"{TRAINED!r} needs a file of weights: write `{TRAINED}:PATH`, and make it with `fairlead train`"
        )
    try:
        content = Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FairleadError(f"the category weights {str(path)!r} cannot be read: {reason}") from None
    try:
        return TrainedDetector(parse(content))
    except FairleadError as error:
        raise FairleadError(f"{path}: {error}") from None


def _registered(name: str) -> Callable[[], Detector]:
    from importlib.metadata import entry_points  # slow to import, and built-in names do without

    entries = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in entries:
        known = ", ".join([*BUILT_IN, f"{TRAINED}:PATH", *sorted(entries.keys() - BUILT_IN.keys())])
        raise FairleadError(f"unknown task category detector {name!r}; there are: {known}")
    factory: Callable[[], Detector] = entries[name].load()
    return factory
