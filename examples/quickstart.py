"""Analyze EfficientNet-B3 on a T4, compare devices and batch sizes, and keep a page of it: python examples/quickstart.py."""

import tempfile
from pathlib import Path

import roofline

report = roofline.analyze("efficientnet_b3", "t4")
print(report)  # the whole report, as on the command line

print("\nOne image, eager PyTorch, on three devices:")
for device in ("t4", "v100", "cpu"):
    r = roofline.analyze("efficientnet_b3", device)
    print(f"  {r.hardware.id:12} {r.latency * 1e3:6.1f} ms, {r.bound}-bound, {r.lower_bound / r.latency:4.0%} of the limit")

print("\nBatch sizes on the T4 in fp16, run by an inference engine:")
for r in roofline.analyze_many("efficientnet_b3", ["t4"], [1, 8, 64], precisions=["fp16"], mode="engine"):
    print(f"  batch {r.batch:3} {r.latency * 1e3:6.1f} ms, {r.throughput:5.0f} images/s, {r.bound}-bound")

print("\nWhere the time of the last one goes:")
for row in r.by_op():
    print(f"  {row.name:15} {row.share:5.1%} of the time, {row.cost.macs / r.macs:5.1%} of the MACs, {row.bound}-bound")

page = Path(tempfile.mkdtemp()) / "efficientnet_b3.html"
r.to_html(page)
print(f"\nwrote {page}")
