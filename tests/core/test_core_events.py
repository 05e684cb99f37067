"""The event bus: everyone who asked for a type hears of it, in order, and may act on it."""

from fairlead.engine.events import Event, EventBus, FleetChanged, StrategyChanged

CHANGE = StrategyChanged(at_s=1.0, before="random", after="hybrid")


def test_subscribers_hear_their_type_and_those_of_all_hear_all() -> None:
    bus = EventBus()
    heard: list[tuple[str, Event]] = []
    bus.subscribe(StrategyChanged, lambda event: heard.append(("one", event)))
    bus.subscribe(Event, lambda event: heard.append(("all", event)))
    bus.subscribe(StrategyChanged, lambda event: heard.append(("two", event)))
    joined = FleetChanged(at_s=2.0, model="m", node="n", joined=True)
    bus.publish(CHANGE)
    bus.publish(joined)
    assert heard == [("one", CHANGE), ("two", CHANGE), ("all", CHANGE), ("all", joined)]


def test_who_has_left_hears_nothing_and_may_leave_while_hearing() -> None:
    bus = EventBus()
    heard: list[str] = []

    def once(_: Event) -> None:
        heard.append("once")
        leave()

    leave = bus.subscribe(Event, once)
    bus.subscribe(Event, lambda _: heard.append("always"))
    bus.publish(CHANGE)
    bus.publish(CHANGE)
    assert heard == ["once", "always", "always"]


def test_nobody_listening_is_fine() -> None:
    EventBus().publish(CHANGE)
