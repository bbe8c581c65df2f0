"""Merge generated kernels over the same elements, where one reads what another wrote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Kernel:
    """Ops that run together, and what decides whether more may.

    *space* counts the elements that it goes over, 0 where each result needs several, *made* those of its result. *reduces* tells whether it
    reduces the former, *along* whether they lie side by side then, *plain* whether it writes images in plain order where others are in
    channels-last.
    """

    ops: set[int]
    generated: bool
    space: int = 0
    made: int = 0
    reduces: bool = False
    along: bool = True
    plain: bool = False

    def may_feed(self, after: "Kernel") -> bool:
        """Tell whether *after*, which reads what this one wrote, can run in it, element by element."""
        if not self.generated or not after.generated or self.plain != after.plain or self.made != after.space:
            return False
        return not after.reduces or (after.along and not self.reduces)

    def joined(self, after: "Kernel") -> "Kernel":
        """Return both as one."""
        held = after if after.reduces else self
        return Kernel(self.ops | after.ops, True, held.space, after.made, held.reduces, held.along, after.plain)


def merged(kernels: Sequence[Kernel], reads: Sequence[Collection[int]]) -> tuple[list[Kernel | None], list[int]]:
    """Merge *kernels*, given which others each *reads*: return them, None where one went into another, and where each is now.

    One waits for the other if nothing in between reads what it writes, or the other comes forward if it reads nothing from there.
    """
    result: list[Kernel | None] = [*kernels]
    place = list(range(len(kernels)))
    sources = [set(of) for of in reads]
    readers: list[set[int]] = [set() for _ in kernels]
    for k, of in enumerate(sources):
        for source in of:
            readers[source].add(k)
    for k in range(len(kernels)):
        for source in sorted(sources[k], reverse=True):
            before, after = result[source], result[k]
            if before is None or after is None or not before.may_feed(after):
                continue
            if all(reader >= k for reader in readers[source]):
                gone, stays = source, k
            elif all(other <= source for other in sources[k]):
                gone, stays = k, source
            else:
                continue
            result[stays], result[gone] = before.joined(after), None
            place = [stays if at == gone else at for at in place]
            _move(gone, stays, sources, readers)
            _move(gone, stays, readers, sources)
    return result, place


def _move(gone: int, stays: int, edges: list[set[int]], back: list[set[int]]) -> None:
    """Let *stays* have the *edges* of *gone*, and those at their other ends know."""
    for other in edges[gone] - {stays}:
        back[other] = back[other] - {gone} | {stays}
    edges[stays] = (edges[stays] | edges[gone]) - {gone, stays}
    edges[gone] = set()
