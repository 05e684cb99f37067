"""Draws that depend on (seed, task, attempt) alone, so that the same task meets the same dice.

A `random.Random` per task would cost about 4 us to seed; a counter-based mix costs half a microsecond and needs no
state. The mix is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
OOPSLA 2014).
"""

import os
import zlib

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """Scatter a 64-bit integer over all 64-bit integers, one to one."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


class Draw:
    """The dice of one attempt of one task: a short stream of independent 64-bit numbers."""

    __slots__ = ("_spare", "_state")

    def __init__(self, seed: int, task_key: int, attempt: int = 0) -> None:
        self._state = (seed * 0xD1342543DE82EF95 + task_key * _GOLDEN + attempt * 0xDA942042E4DD58B5) & _MASK
        self._spare: int | None = None

    def bits(self) -> int:
        """Return the next 64-bit number."""
        self._state = value = (self._state + _GOLDEN) & _MASK
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK  # mix64, in place: this is called for each task
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
        return value ^ (value >> 31)

    def word(self) -> int:
        """Return the next 32-bit number; two of them are made at a time."""
        spare = self._spare
        if spare is not None:
            self._spare = None
            return spare
        bits = self.bits()
        self._spare = bits & 0xFFFFFFFF
        return bits >> 32

    def below(self, n: int) -> int:
        """Return an integer in [0, n); the bias is below n / 2**32."""
        return self.word() * n >> 32

    def unit(self) -> float:
        """Return a float in [0, 1) with 32 random bits."""
        return self.word() * 2.3283064365386963e-10


def key_of(text: str) -> int:
    """Turn a task id given as text into a task key, the same in every process (unlike `hash`)."""
    data = text.encode()
    return zlib.crc32(data) << 32 | zlib.adler32(data)


def fresh_prefix() -> str:
    """Return eight hexadecimal digits that tell this process's ids from any other's."""
    return os.urandom(4).hex()


def fresh_secret(n_bytes: int = 32) -> bytes:
    """Return bytes that cannot be guessed, for keys."""
    return os.urandom(n_bytes)
