"""Detectors by name: the built-in `rules`, and those that others register under `fairlead.detectors`."""

from collections.abc import Callable

from fairlead.categories.contract import Detector
from fairlead.categories.rules import RuleDetector
from fairlead.errors import FairleadError

ENTRY_POINTS = "fairlead.detectors"
"""Each entry point names a callable without arguments, such as a class, that gives a detector."""

BUILT_IN: dict[str, Callable[[], Detector]] = {"rules": RuleDetector}


def detector_named(name: str) -> Detector:
    """Build the detector of that name; a built-in one wins. Raises FairleadError naming those there are."""
    detector = (BUILT_IN.get(name) or _registered(name))()
    if not callable(getattr(detector, "detect", None)):
        kind = type(detector).__name__
        raise FairleadError(f"{name!r} of {ENTRY_POINTS} gives {kind!r}, which has no detect(prompt)")
    return detector


def _registered(name: str) -> Callable[[], Detector]:
    from importlib.metadata import entry_points  # slow to import, and built-in names do without

    entries = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in entries:
        known = ", ".join([*BUILT_IN, *sorted(entries.keys() - BUILT_IN.keys())])
        raise FairleadError(f"unknown task category detector {name!r}; there are: {known}")
    factory: Callable[[], Detector] = entries[name].load()
    return factory
