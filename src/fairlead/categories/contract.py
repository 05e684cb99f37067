"""What a detector is."""

from typing import Protocol

from fairlead.domain.task import TaskCategory


class Detector(Protocol):
    """Says what kind of work a prompt asks for; called once per task, so it should be quick and must not block."""

    def detect(self, prompt: str) -> TaskCategory:
        """Return the category of `prompt`; `unknown` where nothing speaks for one."""
        ...
