"""`POST /v1/feedback`: what somebody thought of an answer teaches the router."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.errors import BadRequestError
from fairlead.gateway.guard import Caller
from fairlead.gateway.http import Request, Responder
from fairlead.gateway.reply import send_error

MAX_COMMENT_LETTERS = 2000
PATH = "/v1/feedback"
_JSON = b"content-type: application/json\r\n"
_KEYS = ("id", "score", "thumb", "comment", "replace")
_THUMBS = {"up": 1.0, "down": 0.0}
_EXAMPLE = '{"id": "DECISION", "score": 0.8} or {"id": "DECISION", "thumb": "up"}'

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


class Find(Protocol[R_co]):
    """Finds the record of a decision."""

    def __call__(self, decision_id: str, tenant: str | None, *, is_admin: bool) -> R_co | None:
        """Return it to the one whose key made it, or to an admin; None for everybody else."""
        ...


class Learn(Protocol[R_contra]):
    """Teaches the router."""

    def __call__(self, record: R_contra, score: float, comment: str, previous: float | None) -> dict[str, Any]:
        """Return what was learnt, as plain data; `previous` is the score that this one takes the place of.

        Raises BadRequestError where nothing can be learnt, such as from a task that no model did.
        """
        ...


class Given(msgspec.Struct, frozen=True):
    """What was said of a decision, and what it taught."""

    score: float
    comment: str = ""
    learnt: dict[str, Any] = {}


class _Asked(msgspec.Struct, frozen=True):
    """A body that was understood."""

    id: str
    score: float
    comment: str
    replace: bool


class Feedback(Generic[R]):
    """Takes one score for each decision.

    A score counts once. The same one again (a client that repeats a request) answers as before and teaches nothing; a
    different one is refused, unless the body says `"replace": true`: then it takes the first one's place.
    """

    def __init__(
        self,
        find: Find[R],
        learn: Learn[R],
        recall: Callable[[str], Given | None] | None = None,
        *,
        remembered: int = 10_000,
    ) -> None:
        """`recall` is asked for scores that this process does not remember, such as those before a restart."""
        self._find = find
        self._learn = learn
        self._recall = recall
        self._size = remembered
        self._given: OrderedDict[str, Given] = OrderedDict()

    def routes(self) -> dict[tuple[str, str], Callable[[Request, Responder, Caller], None]]:
        """Return the path that is answered here."""
        return {("POST", PATH): self.answer}

    def answer(self, request: Request, responder: Responder, caller: Caller) -> None:
        """Answer one request. Raises BadRequestError, saying what to change, for a body that makes no sense."""
        asked = _understand(request.body)
        record = self._find(asked.id, caller.tenant, is_admin=caller.is_admin)
        if record is None:
            message = (
                f"no decision {asked.id[:80]!r} of yours is remembered; x-fairlead-decision of an answer is its id"
            )
            _refuse(responder, 404, message, "not_found")
            return
        before = self._said_before(asked.id)
        if before is not None and before.score == asked.score:
            _send(responder, asked.id, before, {"repeated": True})
        elif before is not None and not asked.replace:
            message = f'this decision has a score already: {before.score:g}; say "replace": true to change it'
            _refuse(responder, 409, message, "feedback_exists")
        else:
            previous = None if before is None else before.score
            given = Given(asked.score, asked.comment, self._learn(record, asked.score, asked.comment, previous))
            self._remember(asked.id, given)
            _send(responder, asked.id, given, {} if previous is None else {"replaced": previous})

    def _said_before(self, decision_id: str) -> Given | None:
        given = self._given.get(decision_id)
        if given is None and self._recall is not None:
            given = self._recall(decision_id)
        return given

    def _remember(self, decision_id: str, given: Given) -> None:
        self._given[decision_id] = given
        self._given.move_to_end(decision_id)
        if len(self._given) > self._size:
            self._given.popitem(last=False)


def _understand(body: bytes) -> _Asked:
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"send {_EXAMPLE}: {error}") from None
    for key in said:
        if key not in _KEYS:
            raise BadRequestError(f"feedback has no key {key[:80]!r}; it has: {', '.join(_KEYS)}", key[:80])
    decision_id = said.get("id")
    if not isinstance(decision_id, str) or not decision_id:
        raise BadRequestError(f"id must be the id of a decision, as a text; send {_EXAMPLE}", "id")
    replace = said.get("replace", False)
    if not isinstance(replace, bool):
        raise BadRequestError(f"replace must be true or false, not {_shown(replace)}", "replace")
    return _Asked(decision_id, _score(said), _comment(said.get("comment")), replace)


def _score(said: dict[str, Any]) -> float:
    if ("score" in said) == ("thumb" in said):
        raise BadRequestError(f"send one of score and thumb: {_EXAMPLE}", "score")
    if "thumb" in said:
        thumb = said["thumb"]
        if not isinstance(thumb, str) or thumb not in _THUMBS:
            raise BadRequestError(f'thumb must be "up" or "down", not {_shown(thumb)}', "thumb")
        return _THUMBS[thumb]
    score = said["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise BadRequestError(f"score must be a number from 0 to 1, not {_shown(score)}", "score")
    return float(score)


def _comment(comment: object) -> str:
    if comment is None:
        return ""
    if not isinstance(comment, str):
        raise BadRequestError(f"comment must be a text, not {_shown(comment)}", "comment")
    if len(comment) > MAX_COMMENT_LETTERS:
        message = f"comment must have {MAX_COMMENT_LETTERS} characters at most, not {len(comment)}"
        raise BadRequestError(message, "comment")
    return comment


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()[:80]


def _send(responder: Responder, decision_id: str, given: Given, more: dict[str, Any]) -> None:
    told = {"id": decision_id, "score": given.score, "learnt": given.learnt, **more}
    responder.send(200, _JSON, msgspec.json.encode(told))


def _refuse(responder: Responder, status: int, message: str, code: str) -> None:
    send_error(responder, Dialect.OPENAI, ErrorInfo(status, message, "invalid_request_error", code))
