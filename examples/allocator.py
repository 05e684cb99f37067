"""Lease what a task will need before it is begun, in your own program. `python examples/allocator.py`."""

from fairlead import AllocationResult, Capacity, LeaseError, Node, ResourceAllocator, Task


def chat(number: int, input_tokens: int, output_tokens: int, least: int | None = None) -> Task:
    """Return a task with a prompt and an answer of at most so many tokens; `least` would do for the answer."""
    return Task(
        id=f"job-{number}",
        key=number,
        model="coder",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        min_output_tokens=least,
    )


def tell(what: str, result: AllocationResult) -> None:
    """Print where a task goes and what is held for it, or why it goes nowhere."""
    held = result.allocated
    print(f"{what:<16}{f'{held.node}, {held.needs.tokens} tokens held' if held else result.reason}")


def main() -> None:
    """Fill two nodes, cut an answer short, run out of room, and give everything back."""
    allocator = ResourceAllocator()
    allocator.add_node(Node("gpu-1", capacity=Capacity(slots=4, tokens=4000)), ["coder"])
    allocator.add_node(Node("gpu-2", capacity=Capacity(slots=4, tokens=2000)), ["coder"])

    first = allocator.allocate_resources("coder", chat(1, 2500, 500), now_s=0.0)
    tell("first", first)
    second = allocator.allocate_resources("coder", chat(2, 1000, 500), now_s=0.0)
    tell("second", second)
    third = allocator.allocate_resources("coder", chat(3, 900, 500), now_s=0.0)
    tell("third", third)
    cut = allocator.allocate_resources("coder", chat(4, 900, 500, least=50), now_s=0.0)
    tell("a shorter one", cut)
    tell("a huge one", allocator.allocate_resources("coder", chat(5, 9000, 500), now_s=0.0))
    assert first.allocated
    assert second.allocated
    assert cut.allocated
    assert third.waiting_helps
    assert cut.allocated.needs.output_tokens < 500  # limit the answer to this much

    allocator.note_progress(second.allocated, output_tokens=200, now_s=3.0)
    usage = allocator.monitor_usage(second.allocated, now_s=3.0)
    print(f"after 3 s the second has used {usage.used_share:.0%} of its answer's share")

    assert allocator.release_resources(first.allocated, used_tokens=2600)
    assert not allocator.release_resources(first.allocated)  # once is enough, twice does nothing
    try:
        allocator.adjust_allocation(first.allocated, now_s=4.0)
    except LeaseError as error:
        print(error)
    allocator.release_resources(second.allocated)
    print(f"left alone: {len(allocator.reclaim(now_s=601.0))} lease expired")
    assert not list(allocator.ledger)


if __name__ == "__main__":
    main()
