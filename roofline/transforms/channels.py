"""Sizes that depend on each other: a union-find over sets of channels that can only be made smaller together.

The size of a dimension is a sum of whole multiples of sets. A residual addition makes two dimensions one; a concatenation writes one
behind another; flattening images multiplies a set by their pixels; cutting a dimension into equal parts makes a set a multiple of a
smaller one. Only counts matter: which channels of a set are dropped does not change a shape, so their order is not followed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

Term = tuple[int, int]
"""A set of channels, and how many times its size is counted."""

Size = tuple[Term, ...]
"""Size of a dimension: its terms in order."""


@dataclass(slots=True)
class Sets:
    """Hold every set of channels: its size, what it turned out to be made of, and why it must stay as it is, where it must.

    Mutable: statements about sizes refine it one after another. `size_of` and `terms` are the answers.
    """

    counts: list[int] = field(default_factory=list)
    made_of: dict[int, Size] = field(default_factory=dict)
    fixed: dict[int, str] = field(default_factory=dict)

    def new(self, count: int, fixed: str | None = None) -> Size:
        """Return a dimension of *count* that is a set of its own, *fixed* for a reason or free."""
        self.counts.append(count)
        if fixed is not None:
            self.fixed[len(self.counts) - 1] = fixed
        return ((len(self.counts) - 1, 1),)

    def terms(self, size: Size) -> Size:
        """Write *size* in sets that are made of no others, neighbours alike put together."""
        found: list[Term] = []
        for name, times in size:
            inner = self.made_of.get(name)
            parts = ((name, times),) if inner is None else tuple((n, t * times) for n, t in self.terms(inner))
            for part in parts:
                if found and found[-1][0] == part[0]:
                    found[-1] = (part[0], found[-1][1] + part[1])
                else:
                    found.append(part)
        return tuple(found)

    def total(self, size: Size) -> int:
        """Count the elements of *size*."""
        return sum(self.counts[name] * times for name, times in size)

    def is_fixed(self, size: Size) -> bool:
        """Tell whether every set of *size* must stay."""
        return all(name in self.fixed for name, _ in self.terms(size))

    def reason(self, size: Size) -> str | None:
        """Say why a set of *size* must stay; None where all are free."""
        return next((self.fixed[name] for name, _ in self.terms(size) if name in self.fixed), None)

    def fix(self, sizes: Iterable[Size], why: str) -> None:
        """Let every set of *sizes* stay as it is; the first reason given is kept."""
        for size in sizes:
            for name, _ in self.terms(size):
                self.fixed.setdefault(name, why)

    def same(self, one: Size, other: Size, why: str) -> None:
        """State that *one* and *other* are equal, however they are cut: sets that cannot be matched stay, for the reason *why*."""
        if self.total(one) != self.total(other):
            self.fix((one, other), why)
        if self.is_fixed(one) and self.is_fixed(other):
            return
        left, right = self.terms(one), self.terms(other)
        while left and right:
            (a, s), (b, t) = left[0], right[0]
            if a == b:
                common = min(s, t)
                left, right = ((a, s - common), *left[1:])[s == common :], ((b, t - common), *right[1:])[t == common :]
                continue
            here, there = self.counts[a] * s, self.counts[b] * t
            head, tail = self._cut(left[0], there, why) if here > there else (left[:1], ())
            opposite, remainder = self._cut(right[0], here, why) if there > here else (right[:1], ())
            self._unite(*head[0], *opposite[0], why)
            left, right = self.terms(tail + left[1:]), self.terms(remainder + right[1:])

    def cut(self, size: Size, counts: Iterable[int], why: str) -> tuple[Size, ...]:
        """Cut *size* into parts of *counts* elements, in order."""
        if self.is_fixed(size):
            return tuple(self.new(count, self.reason(size)) for count in counts)
        rest, parts = self.terms(size), list[Size]()
        for count in counts:
            part: Size = ()
            while rest and (missing := count - self.total(part)):
                if self.total(rest[:1]) > missing:
                    head, tail = self._cut(rest[0], missing, why)
                else:
                    head, tail = rest[:1], ()
                part, rest = part + head, self.terms(tail + rest[1:])
            parts.append(part)
        return tuple(parts)

    def equal_parts(self, size: Size, count: int, why: str) -> Size:
        """Cut *size* into *count* parts that stay equal to each other, and return one of them."""
        terms = self.terms(size)
        if len(terms) == 1:
            (name, times), each = terms[0], self.total(size) // count
            if times % count == 0:
                return ((name, times // count),)
            if times == 1:
                part = self.new(each, self.fixed.get(name))
                self.made_of[name] = ((part[0][0], count),)
                return part
        first, *others = self.cut(terms, [self.total(terms) // count] * count, why)
        for other in others:
            self.same(first, other, why)
        return first

    def _cut(self, term: Term, count: int, why: str) -> tuple[Size, Size]:
        """Cut a term after *count* elements: between its repetitions if it can be, else its set becomes two."""
        name, times = term
        if count % self.counts[name] == 0:
            first = count // self.counts[name]
            return ((name, first),), ((name, times - first),)
        reason = self.fixed.get(name)
        if times > 1:
            whole, rest = divmod(count, times)
            if rest:  # no cut of the set falls there
                self.fixed.setdefault(name, why)
                return self.new(count, why), self.new(self.counts[name] * times - count, why)
            count = whole
        one, other = self.new(count, reason), self.new(self.counts[name] - count, reason)
        self.made_of[name] = one + other
        return ((one[0][0], times),), ((other[0][0], times),)

    def _unite(self, a: int, s: int, b: int, t: int, why: str) -> None:
        """State that *s* times set *a* is as large as *t* times set *b*, which it is now."""
        total, step = self.counts[a] * s, math.lcm(s, t)
        reason = self.fixed.get(a) or self.fixed.get(b)
        if total % step:
            self.fix([((a, 1),), ((b, 1),)], reason or why)
            return
        if a == b:
            return
        if s == t:
            self._join(a, b, reason)
            return
        if step in (s, t):  # one is a multiple of the other
            small, large, times = (a, b, step // t) if step == s else (b, a, step // s)
            self.made_of[large] = ((small, times),)
            if reason is not None:
                self.fixed.setdefault(small, reason)
            return
        common = self.new(total // step, reason)[0][0]
        self.made_of[a], self.made_of[b] = ((common, step // s),), ((common, step // t),)

    def _join(self, a: int, b: int, reason: str | None) -> None:
        self.made_of[b] = ((a, 1),)
        if reason is not None:
            self.fixed.setdefault(a, reason)
