"""The lobby over real dispatches: who is charged, who gives way, and that nobody is left behind."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.admission.config import QueueConfig, WaitLimits
from fairlead.domain import Capacity, Model, Node, Outcome, Task
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Phase, Refuse, Send, Wait
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.lobby import Lobby
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault, OverloadedError
from fairlead.routing import make_strategy

INTERACTIVE, NORMAL, BATCH = 2, 4, 8
SHORT = QueueConfig(max_waiting=6, max_wait_s=WaitLimits(interactive=5.0, normal=10.0, batch=20.0))


class Hall:
    """An owner of a lobby: does what it says, and counts what the queue is told."""

    def __init__(self, *capacities: Capacity, config: QueueConfig | None = None, max_utilization: float = 1.0) -> None:
        self.fleet = Fleet(make_strategy("least_loaded"), FleetSettings(max_node_utilization=max_utilization))
        for i, capacity in enumerate(capacities):
            self.fleet.add(Model("m"), Node(f"n{i}", capacity=capacity), 0.0)
        self.lobby: Lobby[int] = Lobby(self.fleet, config)
        self.policy = RetryPolicy(max_attempts=3, max_wait_s=5.0)
        self.budget = RetryBudget(self.policy)
        self.now_s = 0.0
        self.runs: dict[int, Dispatch] = {}
        self.last: dict[int, Action] = {}
        self.charged: list[tuple[str | None, int]] = []
        self.served = 0
        self._count()

    def _count(self) -> None:
        queue = self.lobby.queue
        shares, served = queue._shares, queue.served
        charge = queue.charge

        def charging(tenant: str | None, tokens: int, now_s: float, priority: int = NORMAL) -> None:
            self.charged.append((tenant, tokens))
            charge(tenant, tokens, now_s, priority)

        def serving(tokens: int, now_s: float) -> None:
            self.served += 1
            served(tokens, now_s)

        assert shares is not None
        queue.charge, queue.served = charging, serving  # type: ignore[method-assign]

    def come(self, number: int, priority: int = NORMAL, **more: object) -> Action:
        task = Task(id=f"t{number}", key=number, model="m", priority=priority, **more)  # type: ignore[arg-type]
        self.runs[number] = dispatch = Dispatch(self.fleet, task, self.policy, self.budget)
        return self.perform(number, self.lobby.begin(number, dispatch, self.now_s))

    def perform(self, number: int, action: Action) -> Action:
        self.last[number] = action
        told, self.lobby.told = self.lobby.told, []
        for other, what in told:
            self.act(other, what)
        if type(action) is Refuse:
            self.end(number)
        return action

    def act(self, number: int, action: Action) -> None:
        if number not in self.runs:
            return
        if type(action) is GiveWay:
            self.last[number] = action
            action = self.lobby.follow(number, self.runs[number], Wait(None), self.now_s)
        self.perform(number, action)

    def admit(self) -> None:
        for number, action in self.lobby.admit(self.now_s):
            self.act(number, action)

    def end(self, number: int, used_tokens: int | None = None) -> None:
        self.lobby.leave(number, self.runs.pop(number), self.now_s, used_tokens)

    def finish(self, number: int) -> None:
        self.runs[number].complete(Outcome(True, 1.0), self.now_s)
        self.end(number, 10)
        self.admit()

    def fail(self, number: int, fault: Fault) -> None:
        dispatch = self.runs[number]
        action = dispatch.fail(fault, self.now_s, 0.1)
        self.perform(number, self.lobby.follow(number, dispatch, action, self.now_s))

    def cancel(self, number: int) -> None:
        self.runs[number].cancel(self.now_s)
        self.end(number)
        self.admit()

    def waiting(self) -> set[int]:
        return {number for number in self.runs if number in self.lobby.queue}

    def check(self) -> None:
        """Everybody is in exactly one place, and no node holds more than it has."""
        lobby = self.lobby
        assert set(lobby._dispatches) == self.waiting()
        assert all(self.runs[number].phase is Phase.WAITING for number in lobby._dispatches)
        assert len(lobby.queue) == len(lobby._dispatches)
        assert set(lobby._yielding) <= set(self.runs)
        assert lobby._gave_way <= set(self.runs)
        assert not lobby.told
        sent = [one.decision.lease for one in self.runs.values() if one.phase is Phase.SENT and one.decision]
        assert sorted(one.id for one in sent) == sorted(one.id for one in self.fleet.ledger)
        for state in self.fleet.nodes.values():
            account = state.account
            assert account.slots is None or account.in_flight <= account.slots
            assert account.capacity.tokens is None or account.tokens <= account.capacity.tokens


def one_slot(config: QueueConfig | None = None) -> Hall:
    return Hall(Capacity(slots=1), config=config)


class TestEveryoneIsInOnePlace:
    """However tasks come, fail, give way, wait in vain or hang up, the lobby forgets who has left."""

    @staticmethod
    @given(st.data())
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_nobody_is_left_behind(data: st.DataObject) -> None:
        slots = data.draw(st.sampled_from([Capacity(slots=1), Capacity(slots=2), Capacity(tokens=2000)]))
        other = data.draw(st.sampled_from([Capacity(slots=1, requests_per_minute=3), Capacity(slots=2), Capacity()]))
        hall = Hall(slots, other, config=SHORT, max_utilization=0.8)
        moves = st.sampled_from(["come"] * 4 + ["finish", "fail", "cancel", "began", "resume", "time", "node", "admit"])
        for number in range(data.draw(st.integers(5, 40))):
            move = data.draw(moves)
            if move == "come":
                hall.come(
                    number,
                    data.draw(st.sampled_from([0, INTERACTIVE, NORMAL, BATCH, 9])),
                    tenant=data.draw(st.sampled_from([None, "a", "b"])),
                    input_tokens=data.draw(st.sampled_from([1, 100, 900, 5000])),
                    deadline_s=data.draw(st.sampled_from([None, hall.now_s + 3.0])),
                )
            elif move == "time":
                hall.now_s += data.draw(st.sampled_from([0.1, 1.0, 11.0, 61.0]))
                hall.fleet.tick(hall.now_s)
                for other_number, action in hall.lobby.overdue(hall.now_s):
                    hall.act(other_number, action)
            elif move == "node":
                TestEveryoneIsInOnePlace._change_node(hall, other, data)
            elif move == "admit":
                hall.admit()
            elif hall.runs:
                TestEveryoneIsInOnePlace._move(hall, move, data)
            hall.check()
        for number in list(hall.runs):
            hall.cancel(number) if number in hall.runs else None
        assert not hall.lobby._dispatches
        assert not hall.lobby._yielding
        assert not hall.lobby._gave_way
        assert not len(hall.lobby.queue)
        assert not len(hall.fleet.ledger)

    @staticmethod
    def _move(hall: Hall, move: str, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(hall.runs)))
        dispatch = hall.runs[number]
        if move == "cancel":
            hall.cancel(number)
        elif move == "resume" and dispatch.phase is Phase.WAITING and number not in hall.lobby.queue:
            hall.perform(number, hall.lobby.follow(number, dispatch, dispatch.resume(hall.now_s), hall.now_s))
        elif dispatch.phase is not Phase.SENT:
            return
        elif move == "finish":
            hall.finish(number)
        elif move == "fail":
            hall.fail(number, data.draw(st.sampled_from([Fault.CONNECT, Fault.UNAVAILABLE, Fault.RATE_LIMITED])))
        elif move == "began":
            hall.lobby.began(number)

    @staticmethod
    def _change_node(hall: Hall, capacity: Capacity, data: st.DataObject) -> None:
        if "n1" in hall.fleet.nodes:
            if data.draw(st.booleans()):
                hall.fleet.remove("m", "n1", hall.now_s)
            else:
                hall.fleet.drain("n1", data.draw(st.booleans()))
        else:
            hall.fleet.add(Model("m"), Node("n1", capacity=capacity), hall.now_s)


class TestCharging:
    """A task counts once in its tenant's share, whatever befalls it."""

    def test_a_task_that_fails_over_is_charged_and_counted_once(self) -> None:
        hall = Hall(Capacity(slots=1), Capacity(slots=1))
        hall.come(1, tenant="a")
        hall.fail(1, Fault.CONNECT)
        assert hall.runs[1].attempts == 2
        hall.finish(1)
        assert len(hall.charged) == 1
        assert hall.served == 1

    def test_a_task_that_gives_way_is_not_charged_twice(self) -> None:
        hall = one_slot()
        hall.come(1, BATCH, tenant="a", input_tokens=1000)
        hall.come(0, BATCH, tenant="b")
        hall.come(2, INTERACTIVE, tenant="b")
        assert type(hall.last[2]) is Send
        assert 1 in hall.waiting()
        assert hall.runs[1].charged_tokens == 0
        hall.finish(2)
        assert hall.runs[1].charged_tokens + hall.runs[0].charged_tokens > 0
        hall.finish(1) if hall.runs[1].charged_tokens else hall.finish(0)
        assert hall.served == 2

    def test_what_is_charged_is_what_is_settled_though_estimates_have_changed(self) -> None:
        hall = one_slot()
        settled: list[tuple[int, int]] = []
        hall.lobby.queue.settle = lambda tenant, charged, used: settled.append((charged, used))  # type: ignore[method-assign]
        hall.come(1, tenant="a")
        charged = hall.charged[0][1]
        hall.fleet.allocator.needs.learn("m", hall.runs[1].task.category, 5000, 0.0)
        hall.finish(1)
        assert settled == [(charged, 10)]

    def test_who_is_refused_when_its_turn_comes_is_not_counted_as_let_in(self) -> None:
        hall = one_slot()
        hall.come(1)
        hall.come(2)
        hall.fleet.remove("m", "n0", 0.0)
        hall.admit()
        assert type(hall.last[2]) is Refuse
        assert hall.lobby.queue.admitted_total == 0


class TestGivingWay:
    """Batch work gives way only where that helps."""

    def test_nobody_gives_way_to_a_limit_per_minute(self) -> None:
        hall = Hall(Capacity(slots=4, requests_per_minute=1))
        hall.come(1, BATCH)
        hall.come(2, INTERACTIVE)
        assert type(hall.last[1]) is Send
        assert hall.waiting() == {2}

    def test_nobody_gives_way_to_a_task_that_finds_no_room_even_so(self) -> None:
        hall = Hall(Capacity(tokens=2000))
        hall.come(1, NORMAL, input_tokens=700, output_tokens=100)
        hall.come(2, BATCH, input_tokens=100, output_tokens=100)
        hall.come(3, INTERACTIVE, input_tokens=1800, output_tokens=100)
        assert type(hall.last[2]) is Send
        assert hall.waiting() == {3}

    def test_nobody_gives_way_on_a_node_that_takes_nobody(self) -> None:
        hall = one_slot()
        hall.come(1, BATCH)
        hall.fleet.drain("n0")
        hall.come(2, INTERACTIVE)
        assert type(hall.last[1]) is Send
        assert type(hall.last[2]) is Refuse

    def test_who_was_sent_again_lately_may_still_give_way(self) -> None:
        hall = Hall(Capacity(slots=1), Capacity(slots=1))
        hall.come(1, BATCH)
        hall.now_s = 1.0
        hall.come(2, BATCH)
        hall.now_s = 12.0
        hall.cancel(2)
        hall.come(3, NORMAL)
        first = hall.runs[1].decision
        assert first is not None
        hall.finish(3)
        hall.fail(1, Fault.CONNECT)
        hall.come(4, NORMAL)
        hall.come(5, INTERACTIVE)
        assert type(hall.last[5]) is Send
        assert hall.waiting() == {1}


class TestLines:
    """One that finds no room closes the line only for those who would find none either."""

    def test_batch_work_that_has_aged_does_not_keep_others_from_what_is_free_for_them(self) -> None:
        hall = Hall(Capacity(slots=5), max_utilization=0.8)
        for number in range(5):
            hall.come(number, BATCH)
        assert hall.waiting() == {4}
        hall.now_s = 200.0  # it counts as more urgent than normal work by now
        hall.come(9, NORMAL)
        hall.admit()
        assert type(hall.last[9]) is Send


class TestWaiting:
    """What counts as waiting is waiting for room, not being at work."""

    def test_a_task_that_failed_late_still_has_its_time_to_wait(self) -> None:
        config = QueueConfig(max_wait_s=WaitLimits(normal=10.0))
        hall = Hall(Capacity(slots=1), Capacity(slots=1), config=config)
        hall.come(1)
        hall.come(2)
        hall.now_s = 30.0
        hall.fail(1, Fault.CONNECT)
        assert hall.waiting() == {1}
        hall.now_s = 35.0
        assert not hall.lobby.overdue(35.0)
        ((number, action),) = hall.lobby.overdue(40.5)
        assert number == 1
        assert type(action) is Refuse
        assert isinstance(action.error, OverloadedError)

    def test_the_wait_of_one_who_is_refused_when_its_turn_comes_is_told(self) -> None:
        hall = one_slot()
        hall.come(1)
        hall.come(2)
        dispatch = hall.runs[2]
        hall.fleet.remove("m", "n0", 0.0)
        hall.now_s = 3.0
        hall.admit()
        assert dispatch.queued_s == 3.0
