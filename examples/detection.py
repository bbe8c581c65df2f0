"""EfficientDet-D0 to D2 on two devices: python examples/detection.py; needs effdet: pip install 'roofline[detection]'."""

from effdet import create_model

import roofline

print("network           px   params     MACs      t4  fp16 engine    v100  fp16 engine")
for name in ("tf_efficientdet_d0", "tf_efficientdet_d1", "tf_efficientdet_d2"):
    net = create_model(name, pretrained=False, pretrained_backbone=False).eval()
    size = net.config.image_size[0]
    graph = roofline.trace(net, (1, 3, size, size))
    eager = roofline.analyze_many(graph, ["t4", "v100"])
    engine = roofline.analyze_many(graph, ["t4", "v100"], precisions=["fp16"], mode="engine")
    times = "  ".join(f"{e.latency * 1e3:6.1f} ms {f.latency * 1e3:6.1f} ms" for e, f in zip(eager, engine, strict=True))
    print(f"{name}  {size}  {eager[0].params / 1e6:.2f} M  {eager[0].macs / 1e9:.2f} G  {times}")

print("\nWhere the time of the last one goes on the V100:")
for row in eager[1].by_op()[:5]:
    print(f"  {row.name:15} {row.share:5.1%} of the time, {row.cost.macs / eager[1].macs:5.1%} of the MACs, {row.bound}-bound")
