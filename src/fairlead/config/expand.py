"""`${NAME}` and `${NAME:-default}` in values; `$${` stands for a plain `${`."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?")


def expand(text: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace references; return the text and what the environment gave to it.

    As in a shell, a default stands in for a variable that is unset or empty. Raises ValueError, with a sentence to
    show, for an unset variable and for a `${` that cannot be read.
    """
    given: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, has_default, default = match.groups()
        if name is None:
            raise ValueError("expected ${NAME} or ${NAME:-default}; write $${ for a plain ${")
        value = env.get(name)
        if has_default and not value:
            return str(default)
        if value is None:
            raise ValueError(
                f"the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
            )
        given.append(value)
        return value

    return _REFERENCE.sub(replaced, text), given
