"""What a caller wishes for a single request, in `x-fairlead-*` headers."""

from fairlead.domain import TaskCategory, read_priority
from fairlead.errors import BadRequestError, UnknownStrategyError
from fairlead.gateway.guard import Caller
from fairlead.orchestrator.wishes import Wishes
from fairlead.routing import RoutingSettings, Strategy, make_strategy

MAX_SESSION_LETTERS = 256


WISH_HEADERS = frozenset(
    b"x-fairlead-" + name
    for name in (
        b"strategy",
        b"category",
        b"session",
        b"max-cost-usd",
        b"deadline-ms",
        b"quality",
        b"min-quality",
        b"max-latency-ms",
        b"priority",
        b"min-output-tokens",
        b"tenant",
    )
)


class WishReader:
    """Reads the headers; strategies asked for by name are made once and kept, so that they learn."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._strategies: dict[str, Strategy] = {}

    def forget(self) -> None:
        """Drop what these strategies learnt."""
        for strategy in self._strategies.values():
            strategy.forget()

    def read(self, headers: dict[bytes, bytes], caller: Caller) -> Wishes:
        """Return what is wished. Raises BadRequestError, naming the header, for what makes no sense."""
        wishes = Wishes(
            tenant=caller.tenant, max_cost_usd=caller.max_cost_usd, priority=caller.priority, limits=caller.limits
        )
        for name, value in headers.items():
            if name.startswith(b"x-fairlead-"):
                self._apply(wishes, name[11:].decode("latin-1"), value.decode("latin-1").strip(), caller)
        return wishes

    def _apply(self, wishes: Wishes, name: str, value: str, caller: Caller) -> None:
        if name == "strategy":
            wishes.strategy = self._strategy(value)
        elif name == "category":
            wishes.category = _category(value)
        elif name == "session":
            wishes.session = f"{caller.name}/{value[:MAX_SESSION_LETTERS]}"
        elif name == "max-cost-usd":
            asked = _number(name, value)
            wishes.max_cost_usd = asked if caller.max_cost_usd is None else min(asked, caller.max_cost_usd)
        elif name == "deadline-ms":
            wishes.deadline_after_s = _number(name, value) / 1000
        elif name == "quality":
            wishes.quality = _share(name, value)
        elif name == "min-quality":
            wishes.min_quality = _share(name, value)
        elif name == "max-latency-ms":
            wishes.max_latency_s = _number(name, value) / 1000
        elif name == "priority":
            wishes.priority = max(_priority(value), caller.max_priority)
        elif name == "min-output-tokens":
            wishes.min_output_tokens = _count(name, value)
        elif name == "tenant" and caller.tenant is None:  # who has a key is who the key says
            wishes.tenant = value[:MAX_SESSION_LETTERS] or None

    def _strategy(self, name: str) -> Strategy:
        strategy = self._strategies.get(name)
        if strategy is None:
            try:
                strategy = self._strategies[name] = make_strategy(name, self._settings)
            except UnknownStrategyError as error:
                raise BadRequestError(f"x-fairlead-strategy: {error}") from None
        return strategy


def _category(value: str) -> TaskCategory:
    try:
        return TaskCategory(value)
    except ValueError:
        known = ", ".join(TaskCategory)
        raise BadRequestError(f"x-fairlead-category: there is no category {value!r}; there are: {known}") from None


def _priority(value: str) -> int:
    try:
        return read_priority(value)
    except ValueError as error:
        raise BadRequestError(f"x-fairlead-priority: {error}") from None


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value[:10]) > 0 and len(value) <= 9):
        raise BadRequestError(f"x-fairlead-{name} must be a whole number above 0, not {value!r}")
    return int(value)


def _number(name: str, value: str) -> float:
    number = _float(value)
    if not 0 < number < 1e12:
        raise BadRequestError(f"x-fairlead-{name} must be a number above 0, not {value!r}")
    return number


def _share(name: str, value: str) -> float:
    number = _float(value)
    if not 0 <= number <= 1:
        raise BadRequestError(f"x-fairlead-{name} must be a number from 0 to 1, not {value!r}")
    return number


def _float(value: str) -> float:
    """Return the number, or NaN, which is in no range, for what is none."""
    try:
        return float("nan" if "_" in value else value)  # Python alone reads "1_0" as a number
    except ValueError:
        return float("nan")
