"""Cut a model to its first layers: nonsense words from a real engine, cheap enough for a fleet of replicas.

A GGUF file is a header, key-value pairs, a table of tensors, and their data. The pairs are copied as they are but for
the number of layers, and the table is written anew with the tensors that stay; no tensor is looked into, so this needs
no package and a fraction of a second. Layout: the GGUF specification of the ggml project, versions 2 and 3.
"""

import hashlib
import struct
import tempfile
from pathlib import Path

import msgspec

from fairlead.errors import FairleadError
from fairlead.local.weights import cache_dir

_HEAD_BYTES = 1 << 20
_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of pairs
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_UINT32, _STRING, _ARRAY = 4, 8, 9
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, _UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _Tensor(msgspec.Struct, frozen=True):
    layer: int
    """-1 for what belongs to no layer."""
    head: bytes
    """Its entry in the table up to the offset: name, shape and type."""
    offset: int
    """Counted from the start of the data."""


def cut_layers(gguf: Path, layers: int = 2) -> Path:
    """Return a copy of the model with its first `layers` layers, kept in the cache; raises `FairleadError`."""
    if layers < 1:
        raise FairleadError(f"a model needs at least one layer, not {layers}")
    try:
        whole = gguf.read_bytes()
        target = cache_dir() / f"{gguf.stem}.{layers}-layers.{_fingerprint(whole)}.gguf"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(_cut(whole, layers), target)
    except OSError as error:
        raise FairleadError(f"cannot cut {gguf}: {error.strerror}") from error
    except (struct.error, ValueError, KeyError) as error:
        raise FairleadError(f"{gguf} is not a whole GGUF model file ({error})") from error
    return target


def _fingerprint(whole: bytes) -> str:
    """Tell one model file from another by its size and its head, which holds the table of its tensors."""
    return hashlib.sha256(b"%d:" % len(whole) + whole[:_HEAD_BYTES]).hexdigest()[:12]


def _put(content: bytes, target: Path) -> None:
    """Write beside the target and move it there in one step, so that no one ever sees half a file."""
    with tempfile.TemporaryDirectory(prefix=".cut-", dir=target.parent) as work:
        part = Path(work, target.name)
        part.write_bytes(content)
        part.replace(target)


def _cut(whole: bytes, layers: int) -> bytes:
    magic, version, n_tensors, n_pairs = _HEADER.unpack_from(whole)
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("wrong magic number or version")
    pairs, alignment, at = _pairs(whole, n_pairs, layers)
    tensors = []
    for _ in range(n_tensors):
        tensor, at = _tensor(whole, at)
        tensors.append(tensor)
    start = at + -at % alignment
    tensors.sort(key=lambda tensor: tensor.offset)
    if not tensors or start + tensors[-1].offset >= len(whole):
        raise ValueError("its end is missing")
    ends = [tensor.offset for tensor in tensors[1:]] + [len(whole) - start]
    table, data = bytearray(), bytearray()
    kept = [(tensor, end) for tensor, end in zip(tensors, ends, strict=True) if tensor.layer < layers]
    for tensor, end in kept:
        table += tensor.head + _U64.pack(len(data))
        data += whole[start + tensor.offset : start + end]
        data += bytes(-len(data) % alignment)
    head = _HEADER.pack(magic, version, len(kept), n_pairs) + pairs + table
    return head + bytes(-len(head) % alignment) + data


def _pairs(whole: bytes, count: int, layers: int) -> tuple[bytes, int, int]:
    """Return the pairs with the number of layers replaced, the alignment of the data, and where the pairs end."""
    at = _HEADER.size
    alignment = 32
    pairs = bytearray()
    for _ in range(count):
        begin = at
        key, at = _text(whole, at)
        (kind,) = _U32.unpack_from(whole, at)
        value_at = at + 4
        at = _skip(whole, value_at, kind)
        pair = whole[begin:at]
        if kind == _UINT32:
            (number,) = _U32.unpack_from(whole, value_at)
            if key == "general.alignment":
                alignment = number
            elif key.endswith(".block_count"):
                pair = whole[begin:value_at] + _U32.pack(min(number, layers))
        pairs += pair
    return bytes(pairs), alignment, at


def _tensor(whole: bytes, at: int) -> tuple[_Tensor, int]:
    name, after = _text(whole, at)
    (dimensions,) = _U32.unpack_from(whole, after)
    offset_at = after + 4 + 8 * dimensions + 4  # their number, each of them, the type
    (offset,) = _U64.unpack_from(whole, offset_at)
    kind, _, rest = name.partition(".")  # such as blk.7.attn_q.weight
    layer = int(rest.partition(".")[0]) if kind == "blk" else -1
    return _Tensor(layer, whole[at:offset_at], offset), offset_at + 8


def _text(whole: bytes, at: int) -> tuple[str, int]:
    (length,) = _U64.unpack_from(whole, at)
    end = at + 8 + length
    return whole[at + 8 : end].decode(), end


def _skip(whole: bytes, at: int, kind: int) -> int:
    """Return where the value that begins here ends."""
    if kind == _STRING:
        return at + 8 + int(_U64.unpack_from(whole, at)[0])
    if kind != _ARRAY:
        return at + _WIDTHS[kind]
    (inner,) = _U32.unpack_from(whole, at)
    (count,) = _U64.unpack_from(whole, at + 4)
    at += 12
    if inner in _WIDTHS:
        return at + int(_WIDTHS[inner] * count)
    for _ in range(count):
        at = _skip(whole, at, inner)
    return at
