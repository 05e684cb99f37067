"""What a prompt begins with, as numbers: block by block, so that prompts that begin alike share their first numbers.

Only the conversation counts, not the model, `stream` or the temperature that stand beside it. Each number stands for
all the text up to the end of its block, so it is enough to compare numbers one by one. They tell texts apart, they do
not keep a secret: CRC-32 and Adler-32 side by side, at about a microsecond per KB.
"""

from zlib import adler32, crc32

import msgspec

from fairlead.dialects.common import BAD_JSON

_NOTHING = msgspec.Raw()


class _Prompt(msgspec.Struct, gc=False):
    tools: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    messages: msgspec.Raw = _NOTHING


_decoder = msgspec.json.Decoder(_Prompt)


def prefix_blocks(body: bytes, block_bytes: int) -> tuple[int, ...]:
    """Return one 64-bit number per whole block of the conversation in a request's body; none where there is none.

    What servers put before the conversation, tools and the system prompt, is in every number, so a body whose tools
    differ shares nothing. The piece that is left at the end counts for nothing: the next turn would change it.
    """
    try:
        found = _decoder.decode(body)
    except BAD_JSON:
        return ()
    messages = found.messages
    text = bytes(found.prompt if messages is _NOTHING else messages)
    if len(text) < block_bytes:
        return ()
    first, second = 0, 1
    for part in (found.tools, found.system):
        if part is not _NOTHING:
            first, second = crc32(part, first), adler32(part, second)
    numbers: list[int] = []
    for start in range(0, len(text) - block_bytes + 1, block_bytes):
        block = text[start : start + block_bytes]
        first, second = crc32(block, first), adler32(block, second)
        numbers.append(first << 32 | second)
    return tuple(numbers)
