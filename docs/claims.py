"""Write docs/claims.md and examples/claims.ipynb from examples/trials: python docs/claims.py.

It traces some sixty networks, which takes minutes the first time. With --check nothing is written, and a page that has drifted is named
and makes the exit code 1.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from trials import CLAIMS  # noqa: E402
from trials.page import markdown, notebook  # noqa: E402

HEADER = (
    """# Claims, tried

Each claim of [docs/claims.md](../docs/claims.md), with its verdict and a figure of its cases: estimates with their 80 % intervals beside
the bar that they are held against. Green is yes, yellow is open, red is no; a point tells its case under the mouse. The networks here are a
few of those of that page, so counts differ; `claim()` without arguments tries all.""",
    """import sys

sys.path[:0] = ["examples", "."]  # where the package of trials lies, seen from the project or from its folder of examples

from trials import bound, order, rivals, savings, scaling, separable, size, training
from trials.figure import figure
from trials.networks import FEW
""",
)

CELLS = (
    ("Fewer parameters and FLOPs", "found = size.claim(FEW)\nfound"),
    ("Depthwise-separable convolutions", "found = separable.claim()\nfound"),
    ("Memory-bound on accelerators", "found = bound.claim(FEW)\nfound"),
    ("FLOPs and run time", "found = order.claim(FEW)\nfound"),
    ("CPUs against GPUs", 'found = rivals.claim(["efficientnet_b0"])\nfound'),
    ("Making a network smaller", "found = savings.claim(FEW)\nfound"),
    ("Memory in training", 'found = training.claim(["efficientnet_b0", "resnet50", "vgg16"])\nfound'),
    ("Scaling three dimensions together", "found = scaling.claim()\nfound"),
)


def pages() -> dict[Path, str]:
    """Write both pages, as text."""
    found = [claim() for claim in CLAIMS]
    return {ROOT / "docs" / "claims.md": markdown(found), ROOT / "examples" / "claims.ipynb": notebook(CELLS, HEADER)}


def main() -> int:
    """Write what has changed, or compare it."""
    made = pages()
    drifted = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv and drifted:
        names = ", ".join(str(path.relative_to(ROOT)) for path in drifted)
        print(f"{names}: drifted from what the tool says; run: python docs/claims.py", file=sys.stderr)
        return 1
    for path in drifted:
        path.write_text(made[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
