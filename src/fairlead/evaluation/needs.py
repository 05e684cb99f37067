"""What a plain install does not bring: a missing package is a sentence that says how to get it."""

from importlib.util import find_spec

from fairlead.errors import FairleadError


class MissingPackageError(FairleadError, ImportError):
    """A package of the extra `evaluate` is not installed."""


def need(package: str) -> None:
    """Raise MissingPackageError where `package` is not installed."""
    if find_spec(package) is None:
        raise MissingPackageError(f"{package} is not installed; get it with: pip install 'fairlead[evaluate]'")
