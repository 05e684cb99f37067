"""One node that is asked: what it is, which of its pages answered, and what they told."""

import msgspec

from fairlead.clock import Clock
from fairlead.config import NodeConfig, NodeKind
from fairlead.domain.report import NodeReport
from fairlead.polling.fetch import NotOfferedError, fetch
from fairlead.polling.servers import OLLAMA, Page, Server, server_by_metrics, server_by_models
from fairlead.polling.told import PollError, Told

REST_S = 600.0
"""How long a page that is not offered is not asked for again."""


class Look(msgspec.Struct, frozen=True):
    """What came of asking a node once."""

    report: NodeReport | None = None
    trouble: str = ""
    """What did not work, and what would mend it; may stand beside a report of the rest."""

    is_mute: bool = False
    """The node is there and offers none of what was asked for, so it is left in peace for a while."""


class _Memory(msgspec.Struct):
    """What is remembered of a page."""

    told: Told
    trouble: str = ""
    is_offered: bool = True
    due_s: float = float("-inf")


class NodeWatch:
    """Asks one node, one request at a time."""

    def __init__(self, node: NodeConfig, clock: Clock, timeout_s: float) -> None:
        self.node = node
        self._clock = clock
        self._timeout_s = timeout_s
        self._server: Server | None = None
        self._pages: dict[str, _Memory] = {}

    async def look(self, *, in_use: bool) -> Look:
        """Ask the node; pages that would disturb it are left out while it is not in use.

        Nothing is reported that was only remembered, nor anything of a node that gave no answer.
        """
        sampled_at_s = self._clock()
        try:
            server = self._server = self._server or await self._find()
        except PollError as error:
            return Look(trouble=str(error))
        if server is None:
            return Look(is_mute=True)
        answers, told = await self._ask_all(server, sampled_at_s, in_use=in_use)
        trouble = "; ".join(memory.trouble for memory in self._pages.values() if memory.trouble)
        if not answers:
            return Look(trouble=trouble)
        if told and any(answers):
            return Look(_report(self.node.name, sampled_at_s, server.name, told), trouble)
        is_mute = not any(memory.is_offered for memory in self._pages.values())
        self._server = None  # another server may have come in its place
        self._pages.clear()
        return Look(trouble=trouble, is_mute=is_mute)

    async def _find(self) -> Server | None:
        """Return what the node is; None where it is none of those that tell of themselves. Raises PollError."""
        if self.node.kind is NodeKind.OLLAMA:
            return OLLAMA
        try:
            server = server_by_models(await self._fetch("/v1/models"))
        except PollError:
            server = None
        if server is not None:
            return server
        try:
            return server_by_metrics(await self._fetch("/metrics"))
        except NotOfferedError:
            return None

    async def _ask_all(self, server: Server, now_s: float, *, in_use: bool) -> tuple[list[bool], Told]:
        """Return whether the node answered, for each page that was asked, and what is known now."""
        answers: list[bool] = []
        told: Told = {}
        for page in server.pages:
            memory = self._pages.get(page.path)
            if self._is_wanted(page, in_use=in_use) and (memory is None or now_s >= memory.due_s):
                memory = self._pages[page.path] = memory or _Memory({})
                answers.append(await self._ask(page, memory, now_s))
                told |= memory.told
            elif memory is not None and page.every_s:
                told |= memory.told
        return answers, told

    def _is_wanted(self, page: Page, *, in_use: bool) -> bool:
        if page.disturbs and not in_use:
            return False
        other = self._pages.get(page.instead_of)
        return not page.instead_of or (other is not None and not other.is_offered)

    async def _ask(self, page: Page, memory: _Memory, now_s: float) -> bool:
        """Ask for a page, remember what came of it, and return whether the node answered."""
        memory.trouble, memory.due_s = "", now_s
        try:
            memory.told = await self._told(page)
        except NotOfferedError as error:
            memory.told, memory.is_offered, memory.due_s = {}, False, now_s + REST_S
            memory.trouble = f"{error}: {page.hint}" if page.hint else ""
            return True
        except PollError as error:
            memory.trouble = str(error)
            if not page.every_s:  # what holds for a while holds until something else is told
                memory.told = {}
            return False
        memory.is_offered, memory.due_s = True, now_s + page.every_s
        return True

    async def _told(self, page: Page) -> Told:
        """Fetch and read a page. Raises PollError, NotOfferedError."""
        body = await self._fetch(page.path)
        try:
            return page.read(body)
        except PollError as error:
            raise PollError(f"{page.path} {error}") from None

    async def _fetch(self, path: str) -> bytes:
        return await fetch(self.node, path, self._timeout_s)


def _report(node: str, sampled_at_s: float, kind: str, told: Told) -> NodeReport:
    slots, running = told.get("slots"), told.get("running")
    if "utilization" not in told and slots and running is not None:
        told["utilization"] = min(running / slots, 1.0)
    return NodeReport(node=node, sampled_at_s=sampled_at_s, kind=kind, **told)
