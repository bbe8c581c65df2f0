"""Find networks with more MACs than EfficientNet-B0 that a T4 runs as fast, and say why: python examples/search_under_b0.py [TRIALS].

The T4 runs eight images in fp16 through an inference engine. MACs stand for capacity here; they are no accuracy.
"""

import sys
import tempfile
from pathlib import Path

import roofline
from roofline.report.search import to_html
from roofline.studies.contrast import contrast

trials = int(sys.argv[1]) if len(sys.argv) > 1 else 150

b0 = roofline.analyze("efficientnet_b0", "t4", batch=8, precision="fp16", mode="engine")
print(f"EfficientNet-B0: {b0.macs / b0.batch / 1e6:.0f} MMACs, {b0.latency * 1e3:.2f} ms for {b0.batch} images, {b0.bound}-bound\n")

found = roofline.search(
    Path(__file__).with_name("space.yaml"),
    "t4",
    trials=trials,
    max_latency=b0.latency,
    max_params=b0.params,
    seed=0,
    batch=8,
    precision="fp16",
    mode="engine",
)
print(found)

best = found.best
assert best is not None, "no network keeps the limits; raise the number of trials"
print(f"\nwhat changed from EfficientNet-B0 to trial {best.number}, and why")
print(
    *contrast(
        b0, roofline.analyze(found.graph(best), "t4", batch=8, precision="fp16", mode="engine"), ("B0", f"trial {best.number}")
    ).lines(),
    sep="\n",
)

page = Path(tempfile.mkdtemp()) / "search.html"
page.write_text(to_html(found), encoding="utf-8")
print(f"\n{page} shows every network that was priced")
