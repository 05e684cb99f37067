"""Two attempts at one task: a first token is late, so a second node is asked, and whose answer comes first is taken."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fairlead.engine.dispatch import Send
from fairlead.engine.events import Hedged
from fairlead.errors import Fault
from fairlead.orchestrator.attempt import Attempt
from fairlead.orchestrator.owner import Owner
from fairlead.orchestrator.steps import HedgeStep

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange


class Race:
    """A second attempt beside an exchange's first one, once that is late."""

    __slots__ = ("_exchange", "_orchestrator", "_timer", "rival")

    def __init__(self, orchestrator: Owner, exchange: "Exchange", delay_s: float) -> None:
        """Begin it in `delay_s`, unless it is called off before."""
        self._orchestrator = orchestrator
        self._exchange = exchange
        self.rival: Attempt | None = None
        self._timer: asyncio.TimerHandle | None = orchestrator.loop.call_later(delay_s, self._begin, delay_s)

    def call_off(self) -> None:
        """Ask no second node any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """Stop the second attempt as well."""
        self.call_off()
        if self.rival is not None:
            self.rival.stop()
            self.rival = None

    def won_by(self, winner: Attempt) -> None:
        """One of the two speaks first: the other is stopped."""
        self.call_off()
        rival, exchange = self.rival, self._exchange
        if rival is None:
            return
        loser = exchange.attempt if winner is rival else rival
        if loser is not None:
            loser.stop()
        exchange.dispatch.won(winner.decision, self._orchestrator.clock())
        if exchange.hedge is not None:
            exchange.hedge = msgspec.structs.replace(exchange.hedge, won=winner is rival)
        self._leave(winner)

    def lost_by(
        self, failed: Attempt, fault: Fault, now_s: float, latency_s: float, retry_after_s: float | None
    ) -> bool:
        """One of the two failed: the other goes on alone. False where there was only one."""
        self.call_off()
        rival, exchange = self.rival, self._exchange
        other = exchange.attempt if failed is rival else rival
        if rival is None or other is None:
            return False
        if not exchange.dispatch.lost(failed.decision, fault, now_s, latency_s, retry_after_s):
            return False
        self._leave(other)
        return True

    # -- inside

    def _begin(self, after_s: float) -> None:
        self._timer = None
        orchestrator, exchange = self._orchestrator, self._exchange
        first, hedger = exchange.attempt, orchestrator.hedger
        if exchange.is_over or exchange.has_begun or first is None or hedger.is_off or not hedger.withdraw():
            return
        action = exchange.dispatch.hedge(orchestrator.clock())
        if type(action) is not Send:
            hedger.refund()
            return
        decision = action.decision
        node, to_node = first.decision.candidate.node.name, decision.candidate.node.name
        exchange.decisions.append(decision)
        exchange.hedge = HedgeStep(node, to_node, after_s, won=False)
        now_s, task = orchestrator.clock(), exchange.task.id
        orchestrator.tell(Hedged(at_s=now_s, task=task, node=node, to_node=to_node, after_s=after_s))
        self.rival = first  # so that it counts as one of two while it is being sent
        rival = exchange.ask(decision)
        self.rival = None if rival.is_over else rival

    def _leave(self, remaining: Attempt) -> None:
        """Let one attempt be the only one, and its decision the one that counts."""
        exchange = self._exchange
        self.rival = None
        exchange.attempt, exchange.relay = remaining, remaining.relay
        exchange.decisions.remove(remaining.decision)
        exchange.decisions.append(remaining.decision)
        self._orchestrator.lease_released()
