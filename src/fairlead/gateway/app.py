"""The gateway: which path does what. Transport-free; any server that provides a `Responder` can carry it."""

import re
from collections.abc import Callable

import msgspec

from fairlead.actuators import Autoscaler
from fairlead.clock import wall_s
from fairlead.dialects import decode, empty_answer
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation
from fairlead.dialects.passing import decode_passing
from fairlead.errors import BadRequestError
from fairlead.gateway.admin import Admin
from fairlead.gateway.feedback import Feedback, Given
from fairlead.gateway.guard import Caller, Guard
from fairlead.gateway.http import Request, Responder
from fairlead.gateway.models import ModelLists
from fairlead.gateway.reload_page import Reload
from fairlead.gateway.reply import HttpReply, WithHeaders, send_error
from fairlead.gateway.wishes import WISH_HEADERS, WishReader
from fairlead.orchestrator.cascade import Cascades
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.wishes import NO_WISHES
from fairlead.routing import RoutingSettings
from fairlead.telemetry.decision_log import DecisionRecord
from fairlead.telemetry.decision_log import Feedback as Said
from fairlead.telemetry.recorder import Recorder

OPERATIONS: dict[str, tuple[Dialect, Operation]] = {
    "/v1/chat/completions": (Dialect.OPENAI, Operation.CHAT),
    "/v1/completions": (Dialect.OPENAI, Operation.COMPLETION),
    "/v1/embeddings": (Dialect.OPENAI, Operation.EMBEDDING),
    "/api/chat": (Dialect.OLLAMA, Operation.CHAT),
    "/api/generate": (Dialect.OLLAMA, Operation.COMPLETION),
    "/api/embed": (Dialect.OLLAMA, Operation.EMBEDDING),
    "/api/embeddings": (Dialect.OLLAMA, Operation.EMBEDDING),
}
_PASSED_HEADERS = (b"anthropic-version", b"anthropic-beta", b"openai-beta", b"traceparent", b"x-request-id")
VIA = b"x-fairlead-via"
_JSON_LINE = b"content-type: application/json\r\n"
_NODE_PATH = re.compile(r"/v1(/[A-Za-z0-9_~-][A-Za-z0-9_.~:@+-]*)+")
"""What may be asked of a node under the caller's own path: no empty or dotted segment, nothing that needs encoding."""

Route = Callable[[Request, Responder, Caller], None]


class Gateway:
    """Answers requests. It is a `Handler`: call it with a request and a responder."""

    def __init__(
        self,
        orchestrator: ModelOrchestrator,
        guard: Guard,
        wishes: WishReader,
        recorder: Recorder,
        cascades: Cascades | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._cascades = cascades
        self._guard = guard
        self._wishes = wishes
        self._recorder = recorder
        self._metrics = recorder.metrics
        self._via_line = f"{VIA.decode()}: {orchestrator.prefix}\r\n".encode()
        self._usual_head = self._via_line + _JSON_LINE
        self._lists = ModelLists(orchestrator)
        self._admin = Admin(orchestrator, recorder, wishes)
        self._is_draining = False
        self._routes: dict[tuple[str, str], Route] = {
            **self._lists.routes(),
            **self._admin.routes(),
            **Feedback(recorder.find, self._learn, self._said_before).routes(),
            ("GET", "/"): _say_hello,
        }
        self._methods: dict[str, list[str]] = {}
        for method, path in self._routes:
            self._methods.setdefault(path, []).append(method)
        for path in OPERATIONS:
            self._methods[path] = ["POST"]

    def show_scaling(self, scaler: Autoscaler, actuator: str) -> None:
        """Let operators see what is started and stopped, by which kind of actuator, and why."""
        self._admin.capacity.scaler, self._admin.capacity.actuator = scaler, actuator

    def let_reload(self, reload: Reload) -> None:
        """Let admins have the configuration read again."""
        self._admin.reload_page.reload = reload

    @property
    def guard(self) -> Guard:
        """Who is let in."""
        return self._guard

    def configure(self, guard: Guard | None, cascades: Cascades | None, settings: RoutingSettings) -> None:
        """Let others in, or run other cascades, from now on; what is under way goes on as it began."""
        self._guard = guard or self._guard
        self._cascades = cascades or self._cascades
        self._wishes.use(settings)

    def drain(self) -> None:
        """Report "not ready" from now on, so that load balancers turn elsewhere."""
        self._is_draining = True

    def __call__(self, request: Request, responder: Responder) -> None:
        """Answer one request."""
        path = request.path
        if path in ("/health", "/ready") and request.method in ("GET", "HEAD"):
            self._report_health(path, responder)
            return
        caller = self._guard.admit(request)
        dialect = Dialect.OLLAMA if path.startswith("/api/") else Dialect.OPENAI
        if isinstance(caller, ErrorInfo):
            self._refuse(responder, dialect, caller, _cors(request) if caller.status == 401 else b"")
            return
        cors = _cors(request)
        if request.method == "OPTIONS" and cors:
            responder.send(204, cors, b"")
            return
        try:
            self._dispatch(request, responder, caller, cors)
        except BadRequestError as error:
            info = ErrorInfo(400, str(error), "invalid_request_error", None, error.param)
            self._refuse(responder, dialect, info, cors)

    # -- inside

    def _dispatch(self, request: Request, responder: Responder, caller: Caller, cors: bytes) -> None:
        path, method = request.path, request.method
        if method == "POST":
            operation = OPERATIONS.get(path)
            if operation is not None:
                self._run(decode(operation[0], operation[1], path, request.body), request, responder, caller, cors)
                return
        route = self._routes.get(("GET" if method == "HEAD" else method, path)) or self._with_argument(method, path)
        if route is not None:
            route(request, WithHeaders(responder, cors) if cors else responder, caller)
        elif method == "POST" and _NODE_PATH.fullmatch(path) is not None:
            self._run(decode_passing(path, request.body), request, responder, caller, cors)
        else:
            self._refuse_path(request, responder, cors)

    def _with_argument(self, method: str, path: str) -> Route | None:
        if method in ("GET", "HEAD"):
            if path.startswith("/v1/models/"):
                return self._lists.one_model
            if path.startswith("/v1/decisions/"):
                return self._admin.decision
        return self._admin.with_argument(method, path)

    def _run(self, call: Call, request: Request, responder: Responder, caller: Caller, cors: bytes) -> None:
        headers = request.headers
        orchestrator = self._orchestrator
        via = headers.get(VIA)
        if via is not None and orchestrator.prefix.encode() in via:
            message = "this request has passed this gateway before: one of its nodes leads back to it"
            self._refuse(responder, call.dialect, ErrorInfo(508, message, "api_error", "loop_detected"), cors)
            return
        if call.dialect is Dialect.OLLAMA and not call.prompt and self._answer_empty(call, responder):
            return
        wishes = NO_WISHES
        if caller.tenant is not None or not WISH_HEADERS.isdisjoint(headers):
            wishes = self._wishes.read(headers, caller)
        if via is None and call.operation is not Operation.PASSING:
            head = self._usual_head
        else:
            line = self._via_line if via is None else b"%b: %b, %b" % (VIA, via, self._via_line.partition(b" ")[2])
            head = line + (_passed(headers) if call.operation is Operation.PASSING else _JSON_LINE)
        reply = HttpReply(call, responder, cors, is_trailed=b"trailers" in headers.get(b"te", b""))
        submit = orchestrator.submit if self._cascades is None else self._cascades.begin
        exchange = submit(call, reply, wishes, head)
        if not exchange.is_over:
            responder.on_gone = exchange.cancel
            responder.on_pressure = exchange.on_pressure

    def _learn(self, record: DecisionRecord, score: float, comment: str, previous: float | None) -> dict[str, object]:
        """Let feedback teach the router, and keep it with the decision."""
        if not record.model:
            raise BadRequestError("no model did this task, so there is nothing to learn from a score", "id")
        choice = record.decisions[-1].models if record.decisions else None
        learnt = self._orchestrator.judge(record.task, record.model, score, previous, choice)
        self._recorder.on_feedback(record, Said(score, comment or None, wall_s()), learnt)
        return learnt

    def _said_before(self, decision_id: str) -> Given | None:
        """Return feedback that this process does not remember, from the state file."""
        row = self._recorder.given(decision_id)
        return None if row is None else Given(row.score, row.comment or "", row.learnt or {})

    def _answer_empty(self, call: Call, responder: Responder) -> bool:
        """Answer Ollama's loading and unloading where no node is an Ollama that could do it."""
        if not self._lists.is_known(call.model) or self._lists.has_dialect(call.model, Dialect.OLLAMA):
            return False
        body = empty_answer(call, now_s=wall_s(), model=call.model)
        if body is None:
            return False
        responder.send(200, b"content-type: application/json; charset=utf-8\r\n", body)
        return True

    def _report_health(self, path: str, responder: Responder) -> None:
        is_fine = path == "/health" or (not self._is_draining and self._orchestrator.is_ready())
        body = msgspec.json.encode({"status": "ok" if is_fine else "unavailable", "server": "fairlead"})
        responder.send(200 if is_fine else 503, b"content-type: application/json\r\n", body)

    def _refuse_path(self, request: Request, responder: Responder, cors: bytes) -> None:
        allowed = self._methods.get(request.path)
        if request.path.startswith("/api/"):  # in Ollama's own words
            plain = b"content-type: text/plain\r\n" + cors
            if allowed:
                responder.send(405, b"allow: %b\r\n" % ", ".join(allowed).encode() + plain, b"405 method not allowed")
            else:
                responder.send(404, plain, b"404 page not found")
            return
        if allowed:
            message = f"{request.path} takes {' or '.join(allowed)}, not {request.method}"
            info = ErrorInfo(405, message, "invalid_request_error", "method_not_allowed")
            self._refuse(responder, Dialect.OPENAI, info, f"allow: {', '.join(allowed)}\r\n".encode() + cors)
        else:
            message = f"there is nothing at {request.path[:200]}; try /v1/models or /v1/chat/completions"
            info = ErrorInfo(404, message, "invalid_request_error", "not_found")
            self._refuse(responder, Dialect.OPENAI, info, cors)

    def _refuse(self, responder: Responder, dialect: Dialect, info: ErrorInfo, extra: bytes = b"") -> None:
        self._metrics.refused[str(info.status)] += 1
        send_error(responder, dialect, info, extra)


def _say_hello(request: Request, responder: Responder, caller: Caller) -> None:
    """Ollama's programs look for just these words."""
    del request, caller
    responder.send(200, b"content-type: text/plain; charset=utf-8\r\n", b"Ollama is running")


def _cors(request: Request) -> bytes:
    """Return the headers for a page that the guard has let pass."""
    origin = request.headers.get(b"origin")
    if origin is None:
        return b""
    return (
        b"access-control-allow-origin: %b\r\nvary: origin\r\naccess-control-allow-headers: *, authorization\r\n"
        b"access-control-allow-methods: GET, POST, OPTIONS\r\naccess-control-expose-headers: *\r\n" % origin
    )


def _passed(headers: dict[bytes, bytes]) -> bytes:
    """Return the headers that go on to a node; the caller's key never does."""
    lines = b"content-type: %b\r\n" % headers.get(b"content-type", b"application/json")
    for name in _PASSED_HEADERS:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines
