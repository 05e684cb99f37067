"""A node that is not there: answers by itself, for trying things out and for tests."""

import asyncio

from fairlead.backends.contract import Sink
from fairlead.backends.spoken import Asked, Speaker, read_asked
from fairlead.dialects.contract import Dialect, NodeRequest
from fairlead.errors import BadRequestError


class _Speech:
    """An answer being said."""

    def __init__(self) -> None:
        self.timer: asyncio.Handle | None = None

    def cancel(self) -> None:
        """Fall silent."""
        if self.timer is not None:
            self.timer.cancel()

    def pause(self) -> None:
        """Nothing to hold back: the answer is short."""

    def resume(self) -> None:
        """Nothing was held back."""


class SimulatedBackend:
    """Says a fixed sentence, word by word, after `first_token_s` and then every `token_s` seconds."""

    dialect = Dialect.OPENAI

    def __init__(self, name: str, *, first_token_s: float = 0.0, token_s: float = 0.0) -> None:
        self._words = [f"{word} " for word in f"This is the simulated node {name} speaking.".split()]
        self._first_token_s = first_token_s
        self._token_s = token_s

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> _Speech:
        """Begin to speak."""
        del extra_head  # there is no HTTP to add it to
        speech = _Speech()
        loop = asyncio.get_running_loop()
        try:
            speaker = Speaker(request, read_asked(request), sink)
        except BadRequestError as error:
            speech.timer = loop.call_soon(Speaker(request, Asked(), sink).refuse, 404, str(error))
            return speech
        speech.timer = loop.call_later(self._first_token_s, self._say, loop, speech, speaker, 0)
        return speech

    async def close(self) -> None:
        """Nothing is held."""

    def _say(self, loop: asyncio.AbstractEventLoop, speech: _Speech, speaker: Speaker, index: int) -> None:
        if index < len(self._words):
            speech.timer = loop.call_later(self._token_s, self._say, loop, speech, speaker, index + 1)
            speaker.say(self._words[index])
        else:
            speaker.finish()
