"""The lists of models, in each dialect's shape."""

from collections.abc import Callable

import msgspec

from fairlead import __version__
from fairlead.clock import wall_s
from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.dialects.listing import (
    ModelCard,
    anthropic_model,
    anthropic_models,
    ollama_ps,
    ollama_show,
    ollama_tags,
    ollama_version,
    openai_model,
    openai_models,
)
from fairlead.engine.fleet import AUTO
from fairlead.errors import BadRequestError
from fairlead.gateway.guard import Caller
from fairlead.gateway.http import Request, Responder
from fairlead.gateway.reply import send_error
from fairlead.orchestrator.orchestrator import ModelOrchestrator

JSON = b"content-type: application/json\r\n"
OLLAMA_JSON = b"content-type: application/json; charset=utf-8\r\n"


class _Show(msgspec.Struct):
    model: str = ""
    name: str = ""


class ModelLists:
    """What is served, as clients of either dialect ask for it."""

    def __init__(self, orchestrator: ModelOrchestrator) -> None:
        self._orchestrator = orchestrator
        self._created_s = int(wall_s())

    def routes(self) -> dict[tuple[str, str], Callable[[Request, Responder, Caller], None]]:
        """Return the paths that are answered here."""
        return {
            ("GET", "/v1/models"): self._all_models,
            ("GET", "/api/tags"): lambda _, out, __: out.send(200, OLLAMA_JSON, ollama_tags(self._cards())),
            ("GET", "/api/ps"): lambda _, out, __: out.send(200, OLLAMA_JSON, ollama_ps(self._cards())),
            ("GET", "/api/version"): lambda _, out, __: out.send(200, OLLAMA_JSON, ollama_version(__version__)),
            ("POST", "/api/show"): self._show,
        }

    def is_known(self, name: str) -> bool:
        """Tell whether a task may ask for this name."""
        return self._orchestrator.fleet.serves(name)

    def has_dialect(self, name: str, dialect: Dialect) -> bool:
        """Tell whether any node that serves a name speaks a dialect."""
        targets = self._orchestrator.targets
        return any(targets[one.node.name].backend.dialect is dialect for one in self._orchestrator.fleet.members(name))

    def one_model(self, request: Request, responder: Responder, caller: Caller) -> None:
        """Answer `GET /v1/models/{id}`; the id may hold slashes and colons, encoded or not."""
        del caller
        name = request.path.removeprefix("/v1/models/")
        if not self.is_known(name):
            message = f"model '{name}' not found"
            send_error(responder, Dialect.OPENAI, ErrorInfo(404, message, "invalid_request_error", "model_not_found"))
            return
        render = anthropic_model if b"anthropic-version" in request.headers else openai_model
        responder.send(200, JSON, render(self._card(name)))

    def _all_models(self, request: Request, responder: Responder, caller: Caller) -> None:
        del caller
        render = anthropic_models if b"anthropic-version" in request.headers else openai_models
        responder.send(200, JSON, render(self._cards()))

    def _show(self, request: Request, responder: Responder, caller: Caller) -> None:
        del caller
        try:
            asked = msgspec.json.decode(request.body, type=_Show)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequestError(str(error)) from None
        name = asked.model or asked.name
        if not name:
            raise BadRequestError("model is required")
        if not self.is_known(name):
            send_error(responder, Dialect.OLLAMA, ErrorInfo(404, f"model '{name}' not found"))
            return
        responder.send(200, OLLAMA_JSON, ollama_show(self._card(name)))

    def _cards(self) -> list[ModelCard]:
        fleet = self._orchestrator.fleet
        return [self._card(name) for name in dict.fromkeys((*fleet.models, *fleet.groups, AUTO)) if fleet.serves(name)]

    def _card(self, name: str) -> ModelCard:
        members = tuple(self._orchestrator.fleet.members(name))
        contexts = [one.model.context_tokens for one in members if one.model.context_tokens is not None]
        known = [one.model.capabilities for one in members if one.model.capabilities is not None]
        capabilities = frozenset.union(*known) if known else None
        nodes = tuple(dict.fromkeys(one.node.name for one in members))
        return ModelCard(name, max(contexts, default=None), capabilities, self._created_s, nodes)
