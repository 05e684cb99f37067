"""Everything that has to change together when one comes, goes, or becomes more urgent."""

from fairlead.admission.config import QueueConfig
from fairlead.admission.fair_share import FairShare
from fairlead.admission.order import LEVELS, Order, Place
from fairlead.admission.outlook import CLASSES, KIND_OF, Outlook
from fairlead.admission.roster import Roster
from fairlead.admission.timetable import Timetable
from fairlead.admission.waiting import Waiting
from fairlead.domain.priority import LEVELS as NAMED

AGED = 0.9
"""Share of the longest wait after which a task is as urgent as interactive ones, where no `ageing_s` is set."""


class Places:
    """The places of those who wait. Every operation is O(log n)."""

    def __init__(self, config: QueueConfig, shares: FairShare, outlook: Outlook) -> None:
        self.order = Order()
        self.roster = Roster(config.max_waiting, config.max_bytes)
        self.of = self.roster.places
        """By ticket."""
        self.impatient: dict[int, Place] = {}
        """By number, those whom nobody may slip by any more."""
        self.limits_s = tuple(config.max_wait_s.of(CLASSES[KIND_OF[level]]) for level in range(LEVELS))
        """The longest wait, by level."""
        self._paces_s = tuple(config.ageing_s or _pace_s(level, self.limits_s[level]) for level in range(LEVELS))
        self._dues = Timetable()
        self._ageings = Timetable()
        self._shares = shares
        self._outlook = outlook
        self._numbered = 0
        self._seen_s = 0.0

    def add(self, waiting: Waiting, now_s: float) -> None:
        """Give one a place."""
        task = waiting.task
        level = task.priority
        if not self.of:
            self._outlook.backlog_begins(now_s)
        tenant = self._shares.join(task.tenant)
        due_s = waiting.since_s + self.limits_s[level]
        if task.deadline_s is not None and task.deadline_s < due_s:
            due_s = task.deadline_s
        self._numbered += 1
        place = Place(waiting, self._numbered, due_s, tenant)
        self.roster.add(place)
        self.order.add(place)
        self._dues.add(due_s, place)
        if level:
            self._ageings.add(waiting.since_s + self._paces_s[level], place)
        self._outlook.tokens_at[level] += waiting.tokens
        tenant.tokens[level] += waiting.tokens

    def remove(self, place: Place) -> None:
        """Take a place away; of the last one nothing is left."""
        level, tokens = place.level, place.waiting.tokens
        self.order.remove(place)
        self.roster.remove(place)
        self._outlook.tokens_at[level] -= tokens
        place.tenant.tokens[level] -= tokens
        if self.impatient:
            self.impatient.pop(place.number, None)
        live = len(self.of)
        self._dues.tidy(live)
        self._ageings.tidy(live)
        if live:
            self._shares.part(place.tenant)
        else:
            self._shares.forget()
            self._outlook.drain.end(self._seen_s)

    def age(self, now_s: float) -> None:
        """Let those who have waited long enough count as more urgent."""
        self._seen_s = now_s
        while (place := self._ageings.pop(now_s)) is not None:
            level, tokens = place.level, place.waiting.tokens
            pace_s = self._paces_s[place.waiting.task.priority]
            self.order.remove(place, level - 1)
            self.order.add(place)
            self._outlook.tokens_at[level] -= tokens
            self._outlook.tokens_at[level - 1] += tokens
            place.tenant.tokens[level] -= tokens
            place.tenant.tokens[level - 1] += tokens
            place.aged_s += pace_s
            if level > 1:
                self._ageings.add(place.aged_s + pace_s, place)

    def pop_due(self, now_s: float) -> Place | None:
        """Take away one whose wait is over, the earliest first; None where there is none."""
        self._seen_s = now_s
        place = self._dues.pop(now_s)
        if place is not None:
            self.remove(place)
        return place

    def next_due_s(self) -> float | None:
        """Return when the next wait is over."""
        return self._dues.next_s()


def _pace_s(level: int, limit_s: float) -> float:
    return AGED * limit_s / max(level - NAMED["interactive"], 1)
