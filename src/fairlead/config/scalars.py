"""Single values: reading them as the type that is wanted, and saying what was expected.

The wanted type decides, not YAML's guess: `name: 7` is the text "7" where a name is wanted, and `slots: "16"` or
`slots: ${SLOTS}` a number where a number is. So no country code is ever turned into `false`.
"""

import math
import re
from typing import Any

from msgspec import inspect as kinds

from fairlead.config.problems import nearest

_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


def parse(text: str, wanted: kinds.Type) -> Any:
    """Return the value; raises ValueError where the text is none of that type or out of its range."""
    if isinstance(wanted, kinds.StrType):
        if len(text) < (wanted.min_length or 0) or (wanted.pattern and not re.search(wanted.pattern, text)):
            raise ValueError
        return text
    if isinstance(wanted, kinds.EnumType):
        return wanted.cls(text)
    if isinstance(wanted, kinds.BoolType):
        return _TRUE.index(text.lower()) >= 0 if text.lower() not in _FALSE else False
    if isinstance(wanted, kinds.IntType) and not _WHOLE.fullmatch(text):
        raise ValueError
    if not isinstance(wanted, kinds.IntType | kinds.FloatType):
        raise TypeError(f"no reader for {wanted}")
    return _in_range(int(text) if isinstance(wanted, kinds.IntType) else float(text), wanted)


def _in_range(value: float, wanted: kinds.IntType | kinds.FloatType) -> float:
    too_low = (wanted.gt is not None and value <= wanted.gt) or (wanted.ge is not None and value < wanted.ge)
    too_high = (wanted.lt is not None and value >= wanted.lt) or (wanted.le is not None and value > wanted.le)
    if too_low or too_high or not math.isfinite(value):
        raise ValueError
    return value


def expected(wanted: kinds.Type) -> str:
    """Say in words what would be right."""
    if isinstance(wanted, kinds.StrType) and wanted.pattern:
        return "64 hexadecimal digits"
    if isinstance(wanted, kinds.EnumType):
        *most, last = [str(member) for member in wanted.cls]
        return f"{', '.join(most)} or {last}"
    if isinstance(wanted, kinds.BoolType):
        return "true or false"
    if isinstance(wanted, kinds.IntType | kinds.FloatType):
        return _expected_number(wanted)
    return "a text"


def _expected_number(wanted: kinds.IntType | kinds.FloatType) -> str:
    noun = "a whole number" if isinstance(wanted, kinds.IntType) else "a number"
    if wanted.gt is not None:
        top = "" if wanted.le is None else f", {wanted.le:g} at most"
        top = top if wanted.lt is None else f" and below {wanted.lt:g}"
        return f"{noun} above {wanted.gt:g}{top}"
    if wanted.ge is not None and wanted.le is not None:
        return f"{noun} from {wanted.ge:g} to {wanted.le:g}"
    if wanted.le is not None:
        return f"{noun}, {wanted.le:g} or less"
    return f"{noun}, {wanted.ge:g} or more" if wanted.ge is not None else noun


def suggestion(text: str, wanted: kinds.Type) -> str:
    """Return `; did you mean "x"?` where one of a closed list was wanted and one is near."""
    meant = nearest(text, [str(member) for member in wanted.cls]) if isinstance(wanted, kinds.EnumType) else None
    return f'; did you mean "{meant}"?' if meant else ""
