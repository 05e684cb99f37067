"""What a caller wishes for a single request, in `x-fairlead-*` headers."""

from collections.abc import Callable

from fairlead.domain import TaskCategory, read_priority
from fairlead.domain.rescue import Rescue
from fairlead.errors import BadRequestError, UnknownStrategyError
from fairlead.gateway.guard import Caller
from fairlead.orchestrator.target import CallLimits
from fairlead.orchestrator.wishes import Wishes
from fairlead.routing import RoutingSettings, Strategy, make_strategy

MAX_SESSION_LETTERS = 256
_RESCUES = frozenset(Rescue)

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
        b"rescue",
        b"timeouts",
    )
)


class WishReader:
    """Reads the headers; strategies asked for by name are made once and kept, so that they learn."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._strategies: dict[str, Strategy] = {}

    def use(self, settings: RoutingSettings) -> None:
        """Make strategies with other settings from now on, where these are others."""
        if settings is not self._settings:
            self._settings = settings
            self._strategies.clear()

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
        if name in _PLAIN:
            field, read = _PLAIN[name]
            setattr(wishes, field, read(name, value))
        elif name == "strategy":
            wishes.strategy = self._strategy(value)
        elif name == "session":
            wishes.session = f"{caller.name}/{value[:MAX_SESSION_LETTERS]}"
        elif name == "max-cost-usd":
            asked = _number(name, value)
            wishes.max_cost_usd = asked if caller.max_cost_usd is None else min(asked, caller.max_cost_usd)
        elif name == "priority":
            wishes.priority = max(_priority(value), caller.max_priority)
        elif name == "tenant" and caller.tenant is None:  # who has a key is who the key says
            wishes.tenant = value[:MAX_SESSION_LETTERS] or None
        elif name == "rescue":
            wishes.rescue, wishes.restart = _rescue(value)

    def _strategy(self, name: str) -> Strategy:
        strategy = self._strategies.get(name)
        if strategy is None:
            try:
                strategy = self._strategies[name] = make_strategy(name, self._settings)
            except UnknownStrategyError as error:
                raise BadRequestError(f"x-fairlead-strategy: {error}") from None
        return strategy


def _rescue(value: str) -> tuple[Rescue | None, bool]:
    """Read who may finish an answer that breaks, and whether it may begin anew: `any_model, restart`."""
    who: Rescue | None = None
    may_restart = False
    for word in filter(None, (part.strip() for part in value.split(","))):
        if word == "restart":
            may_restart = True
        elif word in _RESCUES and who in (None, word):
            who = Rescue(word)
        elif word in _RESCUES:
            raise BadRequestError(f"x-fairlead-rescue: {who} and {word} exclude each other")
        else:
            known = ", ".join((*Rescue, "restart"))
            raise BadRequestError(f"x-fairlead-rescue: there is no {word!r}; there are: {known}")
    if may_restart and who is Rescue.NONE:
        raise BadRequestError("x-fairlead-rescue: none and restart exclude each other")
    return who, may_restart


def _limits(name: str, value: str) -> CallLimits:
    """Read the limits of a call: `first_token_s=5, idle_s=2, total_s=60`."""
    limits: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        limit, _, amount = (piece.strip() for piece in part.partition("="))
        if limit not in CallLimits.__struct_fields__:
            known = ", ".join(CallLimits.__struct_fields__)
            raise BadRequestError(f"x-fairlead-{name}: there is no limit {limit!r}; there are: {known}")
        limits[limit] = _number(f"{name}: {limit}", amount)
    return CallLimits(**limits)


def _category(name: str, value: str) -> TaskCategory:
    try:
        return TaskCategory(value)
    except ValueError:
        known = ", ".join(TaskCategory)
        raise BadRequestError(f"x-fairlead-{name}: there is no category {value!r}; there are: {known}") from None


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


def _milliseconds(name: str, value: str) -> float:
    return _number(name, value) / 1000


def _float(value: str) -> float:
    """Return the number, or NaN, which is in no range, for what is none."""
    try:
        return float("nan" if "_" in value else value)  # Python alone reads "1_0" as a number
    except ValueError:
        return float("nan")


_PLAIN: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "category": ("category", _category),
    "deadline-ms": ("deadline_after_s", _milliseconds),
    "quality": ("quality", _share),
    "min-quality": ("min_quality", _share),
    "max-latency-ms": ("max_latency_s", _milliseconds),
    "min-output-tokens": ("min_output_tokens", _count),
    "timeouts": ("limits_of_call", _limits),
}
"""Headers that say one thing and depend on nothing else: which wish each is, and how it is read."""
