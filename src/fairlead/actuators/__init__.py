"""How nodes are started and stopped, and the loop that does it."""

from fairlead.actuators.autoscaler import Autoscaler
from fairlead.actuators.build import actuator_of
from fairlead.actuators.command import Command
from fairlead.actuators.contract import Actuator, FleetPort, Report
from fairlead.actuators.dry_run import DryRun
from fairlead.actuators.history import Entry, History
from fairlead.actuators.processes import Processes

__all__ = [
    "Actuator",
    "Autoscaler",
    "Command",
    "DryRun",
    "Entry",
    "FleetPort",
    "History",
    "Processes",
    "Report",
    "actuator_of",
]
