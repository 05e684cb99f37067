"""What may be done about an answer that breaks in the middle."""

from enum import StrEnum


class Rescue(StrEnum):
    """Who may finish an answer that broke off."""

    NONE = "none"
    """Nobody: the caller is told that it broke."""
    SAME_MODEL = "same_model"
    """The same model on another node."""
    ANY_MODEL = "any_model"
    """Another model too, where the same one is nowhere else; the last chunk says so."""


class Continuation(StrEnum):
    """How a node is asked to go on from the beginning of an answer: never guessed, declared or found out by a probe."""

    NONE = "none"
    """It cannot."""
    TRAILING = "trailing"
    """A last message of the assistant is gone on from as it stands: llama.cpp, Ollama."""
    CONTINUE_FINAL = "continue_final_message"
    """The same with `continue_final_message` set: vLLM, SGLang."""
    PREFIX = "prefix"
    """The same with `prefix: true` on that message: DeepSeek, Mistral."""
    PROBE = "probe"
    """Find out, by a few short requests at temperature 0."""
