"""The actuator that a configuration asks for."""

from pathlib import Path

from fairlead.actuators.command import Command
from fairlead.actuators.contract import Actuator
from fairlead.actuators.dry_run import DryRun
from fairlead.actuators.processes import Processes
from fairlead.errors import ConfigError
from fairlead.scaling.config import ActuatorKind, ScalingConfig


def actuator_of(config: ScalingConfig, gguf: Path | None = None) -> Actuator | None:
    """Return the actuator, None where nothing is to be scaled; raises ConfigError for a command that is not given.

    `gguf` is the model file of local servers; without it they serve the one in the cache.
    """
    if config.actuator is ActuatorKind.NONE:
        return None
    if config.actuator is ActuatorKind.DRY_RUN:
        return DryRun()
    if config.actuator is ActuatorKind.PROCESSES:
        return Processes(gguf, slots=config.node_slots)
    if not config.command:
        raise ConfigError("scaling.actuator is command, so scaling.command must name the program and its arguments")
    return Command(config.command)
