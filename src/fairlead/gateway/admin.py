"""What operators ask: decisions, metrics, the state of the fleet, and the few things to change at run time."""

from collections.abc import Callable

import msgspec

from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.errors import BadRequestError, UnknownStrategyError
from fairlead.gateway.capacity import CapacityPages
from fairlead.gateway.guard import Caller
from fairlead.gateway.health_pages import HealthPages
from fairlead.gateway.http import Request, Responder
from fairlead.gateway.reload_page import ReloadPage
from fairlead.gateway.reply import send_error
from fairlead.gateway.wishes import WishReader
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.routing import make_strategy
from fairlead.telemetry.decision_log import render
from fairlead.telemetry.recorder import Recorder

JSON = b"content-type: application/json\r\n"
Route = Callable[[Request, Responder, Caller], None]
_VERBS = ("recover", "drain", "undrain")


class _Strategy(msgspec.Struct, forbid_unknown_fields=True):
    strategy: str


class Admin:
    """Answers operators. What changes something needs an admin key, or the local Unix socket."""

    def __init__(self, orchestrator: ModelOrchestrator, recorder: Recorder, wishes: WishReader) -> None:
        self._orchestrator = orchestrator
        self._wishes = wishes
        self.capacity = CapacityPages(orchestrator)
        self.reload_page = ReloadPage()
        self._health = HealthPages(recorder.events, orchestrator)
        self._recorder = recorder

    def routes(self) -> dict[tuple[str, str], Route]:
        """Return the paths that are answered here."""
        return {
            ("GET", "/metrics"): self._metrics,
            ("GET", "/admin/fleet"): _for_admins(self._fleet),
            **{place: _for_admins(route) for place, route in self.capacity.routes().items()},
            **{place: _for_admins(route) for place, route in self.reload_page.routes().items()},
            **{place: _for_admins(route) for place, route in self._health.routes().items()},
            ("POST", "/admin/strategy"): _for_admins(self._set_strategy),
            ("POST", "/admin/reset"): _for_admins(self._reset),
        }

    def with_argument(self, method: str, path: str) -> Route | None:
        """Return what answers `/admin/nodes/NAME/recover`, `/drain` and `/undrain`, or None."""
        if method != "POST" or not path.startswith("/admin/nodes/"):
            return None
        return _for_admins(self._change_node)

    def decision(self, request: Request, responder: Responder, caller: Caller) -> None:
        """Answer `GET /v1/decisions/{id}`: only the key that made it, or an admin, gets to see it."""
        decision_id = request.path.removeprefix("/v1/decisions/")
        record = self._recorder.find(decision_id, caller.tenant, is_admin=caller.is_admin)
        if record is None:
            message = f"no decision {decision_id[:80]!r} of yours is remembered; the most recent ones are"
            send_error(responder, Dialect.OPENAI, ErrorInfo(404, message, "invalid_request_error", "not_found"))
        else:
            responder.send(200, JSON, msgspec.json.encode(render(record, full=request.query == "full=true")))

    def _metrics(self, request: Request, responder: Responder, caller: Caller) -> None:
        del request, caller
        from fairlead.telemetry.prometheus import CONTENT_TYPE, exposition  # only scraped gateways pay for it

        orchestrator = self._orchestrator
        queue = orchestrator.lobby.queue.state(orchestrator.clock())
        metrics, state, health = self._recorder.metrics, self._recorder.state, orchestrator.system_health()
        step = len(orchestrator.degrading.ladder.given_up)
        body = exposition(metrics, orchestrator.fleet, state, queue, health=health, degradation_step=step)
        responder.send(200, b"content-type: %b\r\n" % CONTENT_TYPE, body)

    def _fleet(self, request: Request, responder: Responder) -> None:
        del request
        fleet = self._orchestrator.fleet
        nodes = [
            {
                "name": name,
                "circuit": state.breaker.state.value,
                "in_flight": state.account.in_flight,
                "slots": state.account.slots,
                "draining": state.is_draining,
                "models": sorted(state.candidates),
                "performance": {
                    model: None if one.overall.performance is None else round(one.overall.performance, 4)
                    for model, one in state.candidates.items()
                },
            }
            for name, state in fleet.nodes.items()
        ]
        answer = {"strategy": fleet.strategy.name, "groups": fleet.groups, "nodes": nodes}
        responder.send(200, JSON, msgspec.json.encode(answer))

    def _set_strategy(self, request: Request, responder: Responder) -> None:
        try:
            name = msgspec.json.decode(request.body, type=_Strategy).strategy
            strategy = make_strategy(name, self._orchestrator.routing_settings)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequestError(f'send {{"strategy": "NAME"}}: {error}') from None
        except UnknownStrategyError as error:
            raise BadRequestError(str(error), "strategy") from None
        self._orchestrator.set_strategy(strategy)
        responder.send(200, JSON, msgspec.json.encode({"strategy": name}))

    def _reset(self, request: Request, responder: Responder) -> None:
        del request
        self._orchestrator.fleet.forget()
        self._wishes.forget()
        self._recorder.metrics.clear()
        responder.send(200, JSON, b'{"reset":true}')

    def _change_node(self, request: Request, responder: Responder) -> None:
        name, _, verb = request.path.removeprefix("/admin/nodes/").rpartition("/")
        nodes = self._orchestrator.fleet.nodes
        if name not in nodes or verb not in _VERBS:
            message = f"POST /admin/nodes/NAME/recover, drain or undrain; the nodes are: {', '.join(nodes)}"
            if verb in _VERBS:
                message = f"there is no node {name[:80]!r}; the nodes are: {', '.join(nodes)}"
            send_error(responder, Dialect.OPENAI, ErrorInfo(404, message, "invalid_request_error", "not_found"))
            return
        self._orchestrator.change_node(name, verb)
        responder.send(200, JSON, msgspec.json.encode({"node": name, "done": verb}))


def _for_admins(route: Callable[[Request, Responder], None]) -> Route:
    def guarded(request: Request, responder: Responder, caller: Caller) -> None:
        if caller.is_admin:
            route(request, responder)
        else:
            message = "this needs an admin key, or the local Unix socket"
            send_error(responder, Dialect.OPENAI, ErrorInfo(403, message, "permission_error", "admin_only"))

    return guarded
