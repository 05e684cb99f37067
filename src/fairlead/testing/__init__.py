"""What users and tests share: a misbehaving provider, clocks, virtual time, simulated fleets, laws for strategies.

Servers of real weights are in `fairlead.testing.llama`, which needs more to be installed.
"""

from fairlead.testing.behaviour import Behaviour, FailureRule, always, during, never, sometimes
from fairlead.testing.clock import ManualClock
from fairlead.testing.detector_laws import DETECTOR_LAWS, detector_laws
from fairlead.testing.load_record import LoadRecord
from fairlead.testing.provider import FakeProvider, Fate, Reply
from fairlead.testing.service_times import ServiceTimes
from fairlead.testing.strategy_laws import STRATEGY_LAWS, strategy_laws
from fairlead.testing.task_record import TaskRecord
from fairlead.testing.virtual_fleet import VirtualFleet
from fairlead.testing.virtual_time import VirtualTime

__all__ = [
    "DETECTOR_LAWS",
    "STRATEGY_LAWS",
    "Behaviour",
    "FailureRule",
    "FakeProvider",
    "Fate",
    "LoadRecord",
    "ManualClock",
    "Reply",
    "ServiceTimes",
    "TaskRecord",
    "VirtualFleet",
    "VirtualTime",
    "always",
    "detector_laws",
    "during",
    "never",
    "sometimes",
    "strategy_laws",
]
