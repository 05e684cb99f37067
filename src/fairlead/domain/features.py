"""What learning sees of a prompt: hashed features, from which its words cannot be read back."""

import msgspec


class PromptFeatures(msgspec.Struct, frozen=True, gc=False):
    """A sparse vector of a prompt, and a digest that tells prompts apart."""

    digest: int
    """The same for the same prompt in every process."""
    indices: tuple[int, ...] = ()
    """Which features it has; ascending, none twice."""
    values: tuple[float, ...] = ()
    """How much of each; as many as `indices`."""
