"""`POST /admin/reload`: read the configuration again, or say what that would change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from fairlead.config.diff import Applies, Change, Difference
from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.errors import BadRequestError, ConfigError
from fairlead.gateway.http import Request, Responder
from fairlead.gateway.reply import send_error

logger = logging.getLogger("fairlead")
JSON = b"content-type: application/json\r\n"

Reload = Callable[[bool], Awaitable[Difference]]
"""Reads the configuration again, without applying it where the argument is true. Raises ConfigError where the last good
one is kept."""


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False


class ReloadPage:
    """Answers operators who want the configuration to be read again."""

    def __init__(self) -> None:
        self.reload: Reload | None = None
        """Set once the gateway runs."""
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> dict[tuple[str, str], Callable[[Request, Responder], None]]:
        """Return the paths that are answered here, for admins."""
        return {("POST", "/admin/reload"): self._answer}

    def _answer(self, request: Request, responder: Responder) -> None:
        try:
            asked = msgspec.json.decode(request.body or b"{}", type=_Asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequestError(f'send nothing, or {{"dry_run": true}}: {error}') from None
        task = asyncio.get_running_loop().create_task(self._reload(responder, is_dry_run=asked.dry_run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, responder: Responder, *, is_dry_run: bool) -> None:
        try:
            if self.reload is None:
                raise ConfigError("this gateway does not run yet: ask again")  # noqa: TRY301 - answered as all others
            told = await self.reload(is_dry_run)
        except ConfigError as error:
            _refuse(responder, 422, str(error), "invalid_config")
        except Exception:  # whatever it is: this caller is told, and the gateway goes on
            logger.exception("the configuration could not be read again")
            _refuse(responder, 500, "the configuration could not be read again; the log says why", "internal_error")
        else:
            answer = {"reloaded": not is_dry_run, "changes": [_told(change) for change in told.changes]}
            responder.send(200, JSON, msgspec.json.encode(answer))


def _told(change: Change) -> dict[str, object]:
    return {
        "line": change.line(),
        "verb": change.verb,
        "subject": change.subject,
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "applies": change.applies,
        "needs_restart": change.applies is Applies.RESTART,
    }


def _refuse(responder: Responder, status: int, message: str, code: str) -> None:
    send_error(responder, Dialect.OPENAI, ErrorInfo(status, message, "invalid_request_error", code))
