"""What nodes tell of themselves while they serve: asked for in the background, never on the way of a task."""

from fairlead.polling.checking import NodeChecker
from fairlead.polling.learn import learnt_capacity
from fairlead.polling.poller import Poller
from fairlead.polling.told import PollError

__all__ = ["NodeChecker", "PollError", "Poller", "learnt_capacity"]
