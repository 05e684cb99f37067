"""Everything that has to change together when one comes or goes."""

from fairlead.admission.ageing import Ageing
from fairlead.admission.fair_share import FairShare
from fairlead.admission.order import Order, Place
from fairlead.admission.outlook import Outlook
from fairlead.admission.roster import Roster
from fairlead.admission.timetable import Timetable
from fairlead.admission.waiting import Waiting


class Places:
    """The places of those who wait. Every operation is O(log n)."""

    def __init__(self, roster: Roster, ageing: Ageing, shares: FairShare, outlook: Outlook) -> None:
        self.order = Order(ageing)
        self.roster = roster
        self.of = roster.places
        """By ticket."""
        self.impatient: dict[int, Place] = {}
        """By number, those whom nobody may slip by any more."""
        self.now_s = 0.0
        """The latest time that was heard of: some leave without saying when."""
        self._limits_s = ageing.limits_s
        self._dues = Timetable()
        self._shares = shares
        self._outlook = outlook
        self._numbered = 0

    def add(self, waiting: Waiting, now_s: float, *, is_back: bool = False) -> None:
        """Give one a place."""
        task = waiting.task
        if not self.of:
            self._outlook.backlog_begins(now_s)
        tenant = self._shares.join(task.tenant)
        due_s = waiting.since_s + self._limits_s[task.priority]
        if task.deadline_s is not None and task.deadline_s < due_s:
            due_s = task.deadline_s
        self._numbered += 1
        place = Place(waiting, self._numbered, due_s, tenant)
        self.roster.add(place, is_back=is_back)
        self.order.add(place)
        self._dues.add(due_s, place)
        tenant.tokens[task.priority] += waiting.tokens

    def remove(self, place: Place) -> None:
        """Take a place away; of the last one nothing is left."""
        waiting = place.waiting
        self.order.remove(place)
        self.roster.remove(place)
        place.tenant.tokens[waiting.task.priority] -= waiting.tokens
        if self.impatient:
            self.impatient.pop(place.number, None)
        live = len(self.of)
        self._dues.tidy(live)
        if live:
            self._shares.part(place.tenant)
        else:
            self._shares.forget()
            self._outlook.drain.end(self.now_s)

    def pop_due(self, now_s: float) -> Place | None:
        """Take away one whose wait is over, the earliest first; None where there is none."""
        self.now_s = now_s
        place = self._dues.pop(now_s)
        if place is not None:
            self.remove(place)
        return place

    def next_due_s(self) -> float | None:
        """Return when the next wait is over."""
        return self._dues.next_s()
