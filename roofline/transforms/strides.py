"""Say where the elements of a tensor lie: its strides, in elements, and what a view or a function of elements makes of them.

The rules are those of PyTorch (aten/src/ATen/TensorUtils.cpp, TensorIterator.cpp and c10/core/MemoryFormat.h), recalled: a
dimension of one element has a stride that means nothing, and one that repeats its element has a stride of 0.
"""

from functools import cmp_to_key, lru_cache

Ints = tuple[int, ...]


@lru_cache(maxsize=4096)
def packed(shape: Ints, order: Ints | None = None) -> Ints:
    """Give the strides of a tensor without gaps whose dimensions lie in *order*, the slowest first; without one, as written."""
    strides, step = [0] * len(shape), 1
    for d in reversed(order if order is not None else range(len(shape))):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def channels_last(shape: Ints) -> Ints:
    """Give the strides of an image, or of a volume, whose channels lie side by side."""
    return packed(shape, (0, *range(2, len(shape)), 1))


def same(shape: Ints, strides: Ints, other: Ints) -> bool:
    """Tell whether two strides put every element of *shape* at the same place."""
    return all(size <= 1 or one == two for size, one, two in zip(shape, strides, other, strict=True))


def is_packed(shape: Ints, strides: Ints) -> bool:
    """Tell whether the elements lie as written, without gaps."""
    return same(shape, strides, packed(shape))


@lru_cache(maxsize=4096)
def is_channels_last(shape: Ints, strides: Ints) -> bool:
    """Tell whether PyTorch takes a tensor for an image in channels-last, with or without gaps (`is_channels_last_strides_2d`)."""
    if len(shape) != 4 or strides[1] == 0:
        return False
    least = 0
    for d in (1, 3, 2, 0):
        if strides[d] < least or (d == 0 and least == strides[1]):
            return False
        least = strides[d] * max(shape[d], 1)
    return True


def image(shape: Ints, *, last: bool) -> Ints:
    """Give the strides of an image without gaps, in channels-last if it is to be (other tensors have none)."""
    return channels_last(shape) if last and len(shape) == 4 else packed(shape)


def expanded(shape: Ints, strides: Ints, to: Ints) -> Ints:
    """Give the strides of a view that repeats elements to fill the shape *to*."""
    new = len(to) - len(shape)
    return (0,) * new + tuple(0 if one != other else step for one, other, step in zip(shape, to[new:], strides, strict=True))


@lru_cache(maxsize=4096)
def viewed(shape: Ints, strides: Ints, to: Ints) -> Ints | None:
    """Give the strides of a view in the shape *to* of the same elements; None where no strides can put them there."""
    if is_packed(shape, strides):
        return packed(to)
    found = [0] * len(to)
    d, left = len(to) - 1, 1
    run, step = 1, strides[-1] if strides else 1
    for i in reversed(range(len(shape))):
        run *= shape[i]
        if i > 0 and (shape[i - 1] == 1 or strides[i - 1] == run * step):
            continue  # the next dimension goes on where this one ends
        while d >= 0 and (left < run or to[d] == 1):
            found[d] = left * step
            left *= to[d]
            d -= 1
        if left != run:
            return None
        if i > 0:
            run, left, step = 1, 1, strides[i - 1]
    return tuple(found) if d < 0 else None


@lru_cache(maxsize=4096)
def elementwise(shape: Ints, operands: tuple[tuple[Ints, Ints], ...]) -> Ints:
    """Give the strides of a result of *shape* made element by element from operands of (shape, strides): without gaps.

    Dimensions lie in the order of the first operand that tells two apart (`TensorIteratorBase::reorder_dimensions`).
    """
    steps = [expanded(size, strides, shape) for size, strides in operands]

    def compare(one: int, other: int) -> int:
        for step in steps:
            if step[one] and step[other] and step[one] != step[other]:
                return -1 if step[one] > step[other] else 1
        return one - other

    return packed(shape, tuple(sorted(range(len(shape)), key=cmp_to_key(compare))))
