"""The built-in detector: weighted cues in the opening and the end of a prompt, a few microseconds at any length.

Prompts say what they want in their first sentence, or, below pasted code, in their last. So a bounded head and tail
is read, cut into words once, and compared with a vocabulary in one set operation, which costs the same for ten cues
as for a thousand. Each cue adds its weight to its category, the leading verb once more; the highest sum wins.
Wrong for languages other than English, which mostly come out as `unknown`.
"""

from collections import defaultdict
from collections.abc import Mapping

from fairlead.categories.cues import LEADS, ORDER, WORDS
from fairlead.domain.task import TaskCategory

HEAD_CHARS = 120
TAIL_CHARS = 40
"""What is read of a prompt; on labelled prompts, twice as much told hardly more and cost twice the time."""
LEAD_WORDS = 5
"""The leading verb stands among the first few words: "could you please review"."""
MINIMUM = 3
"""A sum below this is no evidence."""

_READ_CHARS = HEAD_CHARS + TAIL_CHARS
# One byte for each category holds any sum: the words read are distinct and few, a test works out the worst case.
_LANES = len(ORDER)
# ASCII letters in lower case, digits and the bytes of other scripts kept, everything else a gap between words.
_TO_WORDS = bytes(c if c > 127 else ord(chr(c).lower()) if chr(c).isalnum() else 32 for c in range(256))


def _packed(table: Mapping[TaskCategory, Mapping[int, str]]) -> dict[bytes, int]:
    """Cue -> its weights, one byte for each category in `ORDER`, so that one addition adds them all."""
    packed: defaultdict[bytes, int] = defaultdict(int)
    for category, weights in table.items():
        for weight, cues in weights.items():
            for cue in cues.split():
                packed[cue.encode()] += weight << 8 * ORDER.index(category)
    return dict(packed)


_LEAD_VOTES = _packed(LEADS)
_VOTES = _packed(WORDS)
_VOCABULARY = frozenset(_VOTES)


def words_of(prompt: str) -> list[bytes]:
    """Return the words of the head and the tail of a prompt, in lower case; TypeError for what is no text."""
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt must be text (str), not {type(prompt).__name__}")
    return cut(prompt if len(prompt) <= _READ_CHARS else f"{prompt[:HEAD_CHARS]} {prompt[-TAIL_CHARS:]}")


def cut(text: str) -> list[bytes]:
    """Return the words of a text, in lower case."""
    return text.encode("utf-8", "replace").translate(_TO_WORDS).split()


def evidence(words: list[bytes]) -> bytes:
    """Return the sum of the cues for each category, in `ORDER`."""
    votes = sum(map(_VOTES.__getitem__, _VOCABULARY.intersection(words)))
    for word in words[:LEAD_WORDS]:
        if word in _LEAD_VOTES:
            votes += _LEAD_VOTES[word]
            break
    return votes.to_bytes(_LANES, "little")


class RuleDetector:
    """Detects the category by weighted cues; has no state, so one instance serves any number of threads."""

    __slots__ = ()

    def detect(self, prompt: str) -> TaskCategory:
        """Return the category with the most evidence, `unknown` where there is too little; TypeError for non-text."""
        sums = evidence(words_of(prompt))
        best = max(sums)
        return ORDER[sums.index(best)] if best >= MINIMUM else TaskCategory.UNKNOWN
