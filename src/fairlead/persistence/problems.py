"""What can go wrong with a state file, beyond what the store lives through by itself."""

from pathlib import Path

from fairlead.errors import FairleadError


class StateError(FairleadError):
    """The state file cannot be used; the message says why, and what to do."""


class StateInUseError(StateError):
    """Another process writes to the state file: `owner`, in words."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is in use by {owner}: stop that first, or choose another file")
        self.owner = owner
