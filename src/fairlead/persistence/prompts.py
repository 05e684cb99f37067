"""What of a prompt goes to the disk: nothing, a hash, a text with the private parts masked, or all."""

import hashlib
import hmac
import re

from fairlead.config.schema import LogPrompts

_SECRETS = "password|passwd|pwd|passphrase|secret|token|api[_-]?key"
_PREFIXES = "sk|pk|rk|fl|gh[opsur]|github_pat|glpat|xox[abprs]|hf|AKIA|ASIA|AIza|eyJ"
_MASKS = (
    (re.compile(r"-----BEGIN [A-Z ]{1,40}-----.*?(?:-----END [A-Z ]{1,40}-----|\Z)", re.DOTALL), "[key]"),
    (re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[email]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 [key]"),
    (re.compile(rf"(?i)((?:{_SECRETS})[\"']?\s{{0,3}}[=:]\s{{0,3}})[^\s,;]+"), r"\1[key]"),
    (re.compile(rf"\b(?:{_PREFIXES})[-_]?[\w.~+/=-]{{12,}}"), "[key]"),
    (re.compile(r"\b[a-z]{2,10}://[^\s\"'<>]+"), "[url]"),
    (re.compile(r"(?<![\w/\\])(?:[\w.@+~-]{1,64}|[A-Za-z]:)?(?:[/\\][\w.@+~-]+){2,}[/\\]?"), "[path]"),
    (re.compile(r"(?<![\w])(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[\w+/-]{24,}={0,2}"), "[key]"),
    (re.compile(r"(?<![\w.])\+?\(?\d(?:[ ().-]{0,2}\d){6,}"), "[number]"),
)
"""In this order: what names itself first, then what only looks private."""


def redact(text: str) -> str:
    """Return a text with addresses, keys, paths and long numbers masked.

    Masks what has a known look; a name or a street has none, so the result is less private than a hash.
    """
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


class PromptKeeper:
    """Turns prompts into what may be stored of them."""

    def __init__(self, policy: LogPrompts, salt: bytes) -> None:
        self._policy = policy
        self._salt = salt

    def keep(self, prompt: str | None) -> str | None:
        """Return what is stored of a prompt.

        A hash is the SHA-256 with a salt that never leaves the database, so that equal prompts can be told, but not
        guessed by who has only the hashes.
        """
        if prompt is None or self._policy is LogPrompts.NONE:
            return None
        data = prompt.encode("utf-8", "replace")  # JSON may have brought half a letter
        if self._policy is LogPrompts.HASH:
            return hmac.new(self._salt, data, hashlib.sha256).hexdigest()
        text = data.decode()
        return redact(text) if self._policy is LogPrompts.REDACT else text
