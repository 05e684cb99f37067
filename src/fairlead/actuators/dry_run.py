"""An actuator that does nothing: the log and the history show what would be done."""

from fairlead.actuators.contract import Report

_NOTHING = Report(is_done=False)


class DryRun:
    """Starts and stops nothing."""

    outlives = False

    async def start(self, name: str) -> Report:
        """Do nothing."""
        del name
        return _NOTHING

    async def stop(self, name: str) -> Report:
        """Do nothing."""
        del name
        return _NOTHING

    async def close(self) -> None:
        """Do nothing."""
