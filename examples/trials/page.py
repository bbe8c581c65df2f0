"""Write claims as Markdown, as a light piece of HTML for a notebook, and the notebook that shows them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Any

from trials.spread import factors
from trials.verdict import OUTCOMES, VERDICTS, Claim, Outcome, Part, Verdict

INTRO = """# Claims, tried

What is said of EfficientNets, and of CPUs against GPUs, tried with `roofline`. Everything here is written by `python docs/claims.py`: no
verdict is set by hand, and each can be traced to the table that its part names. The times are predictions, with the errors that
[accuracy](accuracy.md) tells of; the counts are exact. [examples/claims.ipynb](../examples/claims.ipynb) draws the cases, the code is in
[examples/trials](../examples/trials/verdict.py).
"""

RULE = """## The rule

A claim is cut into parts. A part names a measure and a bar, and has cases: each pair of networks, device, way to run and batch that the
claim speaks of. A case comes out as **yes** where the whole 80 % interval of its measure is within the bar, as **no** where all of it is
outside, and is **open** where the interval straddles the bar.

| the cases of a part | verdict |
| --- | --- |
| all are yes | holds |
| all are yes under some conditions, which are named | holds under conditions |
| else, and more than half are no | does not hold |
| else | cannot be told |

A claim has the verdict of its parts where they agree. Where they do not, it does not hold if more than half of them do not; else it holds
under conditions if any part does at least in part, or cannot be told. Conditions are found by counting: one to three of them together under
which every case is yes (two cases at least, where cases differ in more than one thing); *for all with* names those of most cases first, six
at most. Single cases that are yes beside others that are not make no condition; what the tool says of a claim tells of them.
"""

SPREAD = """### Intervals

The interval of a time is that of every report: it is meant to hold 80 % of measured times. A ratio of times has one of its own:

- two devices, two modes or two precisions: the errors are taken to be independent, and the widths add up in quadrature, as logarithms;
- one device, mode and precision: both predictions are mostly off in the same direction. The interval is that of ratios of two networks
  of one family in published timings, predicted by fits that had not seen the networks, or the device where it was never timed so:
"""


def markdown(claims: Sequence[Claim]) -> str:
    """Write the whole page."""
    lines = [INTRO, *_rows(("claim", "verdict", "of its parts"), [_summary(i, c) for i, c in enumerate(claims, 1)]), ""]
    heads = ("", "part", "verdict", "yes / open / no", "yes for all with", "no for all with")
    lines += ["Part by part:", "", *_rows(heads, [row for i, c in enumerate(claims, 1) for row in _brief(i, c)]), "", RULE, SPREAD]
    lines += [*_rows(("left out", "processor", "mode", "80 % of ratios are off by at most", "pairs"), _factors()), ""]
    lines += ["CPUs in eager mode were timed by nobody; the spread of compiled networks stands for theirs. Shares and rank correlations "
              "have intervals that their tables explain.", ""]  # fmt: skip
    for i, claim in enumerate(claims, 1):
        lines += [section(i, claim), ""]
    return "\n".join(lines).rstrip() + "\n"


def section(number: int, claim: Claim) -> str:
    """Write one claim: what was said, the verdict and its parts, what the tool says, the tables."""
    lines = [
        f"## {number}. {claim.title}",
        "",
        f"> {claim.statement}",
        "",
        f"Source: {claim.source}.",
        "",
        f"**Verdict: {claim.verdict}.**",
        "",
    ]
    lines += [*_rows(("part", "measure", "bar", "yes", "open", "no", "verdict", "table"), [_part(p) for p in claim.parts]), ""]
    lines += ["What the tool says:", "", *(f"- {line}" for line in claim.says), ""]
    mixed = [part for part in claim.parts if part.verdict in ("holds under conditions", "cannot be told")]
    if conditions := _conditions(mixed):
        heads = ("yes / open / no", *(part.statement for part in mixed))
        lines += ["Where cases come out how:", "", *_rows(heads, conditions), ""]
    for table in claim.tables:
        lines += [f"### {table.title}", "", *_rows(table.header, table.rows), ""]
        lines += [table.note, ""] * bool(table.note)
    return "\n".join(lines).rstrip()


def html(claim: Claim) -> str:
    """Write verdict and parts for a notebook."""
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _part(part))}</tr>" for part in claim.parts)
    heads = "".join(f"<th>{name}</th>" for name in ("part", "measure", "bar", "yes", "open", "no", "verdict", "table"))
    says = "".join(f"<li>{escape(line)}</li>" for line in claim.says)
    return (
        f'<div class="roofline"><p><em>{escape(claim.statement)}</em></p><p><strong>Verdict: {claim.verdict}.</strong></p>'
        f"<table><tr>{heads}</tr>{rows}</table><ul>{says}</ul></div>"
    )


def notebook(cells: Sequence[tuple[str, str]], header: Sequence[str]) -> str:
    """Write a notebook without outputs: for each claim, its heading and the code that tries it and draws it."""
    made: list[dict[str, Any]] = [_cell("markdown", header[0], "intro")]
    for i, (title, code) in enumerate(cells, 1):
        whole = f"{header[1]}\n{code}" if i == 1 else code
        made += [_cell("markdown", f"## {i}. {title}", f"title-{i}"), _cell("code", whole, f"claim-{i}"),
                 _cell("code", "figure(found)", f"figure-{i}")]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    body = {"cells": made, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(body, indent=1) + "\n"


def _cell(kind: str, text: str, name: str) -> dict[str, Any]:
    own: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True), **own}


def _summary(number: int, claim: Claim) -> tuple[str, ...]:
    anchor = f"{number}-{claim.title.lower().replace(' ', '-').replace(',', '')}"
    parts = Counter(part.verdict for part in claim.parts)
    told = ", ".join(
        f"{parts[verdict]} {_PLURAL.get(verdict, verdict) if parts[verdict] > 1 else verdict}" for verdict in VERDICTS if parts[verdict]
    )
    return f"{number}. [{claim.title}](#{anchor})", claim.verdict, told


_PLURAL: dict[Verdict, str] = {"holds": "hold", "holds under conditions": "hold under conditions", "does not hold": "do not hold"}


def _brief(number: int, claim: Claim) -> Iterator[tuple[str, ...]]:
    for part in claim.parts:
        yield str(number), part.statement, part.verdict, _counts(part.count), part.settled("yes"), part.settled("no")


def _counts(count: Callable[[Outcome], int]) -> str:
    return " / ".join(str(count(outcome)) for outcome in OUTCOMES)


def _part(part: Part) -> tuple[str, ...]:
    return part.statement, part.measure, str(part.bar), *(str(part.count(o)) for o in OUTCOMES), part.verdict, part.table


def _conditions(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """Count outcomes of each part under each condition, where that makes a difference to any part."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    differs: set[str] = set()
    for column, part in enumerate(parts):
        shares: dict[str, set[tuple[float, ...]]] = {}
        for key, value, counts in part.where():
            total = sum(counts.values())
            if total > 1:
                shares.setdefault(key, set()).add(tuple(round(counts[o] / total, 9) for o in OUTCOMES))
            found.setdefault(key, {}).setdefault(value, {})[column] = _counts(counts.__getitem__)
        differs |= {key for key, seen in shares.items() if len(seen) > 1}
    return [
        (f"{key} {value}", *(cells.get(column, "") for column in range(len(parts))))
        for key, values in found.items() if key in differs for value, cells in values.items()
    ]  # fmt: skip


def _factors() -> list[tuple[str, ...]]:
    return [(left_out, kind.upper(), mode, f"{factor:.2f}", str(n)) for (left_out, kind, mode), (factor, n) in sorted(factors().items())]


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(header), line(["---"] * len(header)), *map(line, rows)]
