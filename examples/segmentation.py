"""A U-Net with an EfficientNet encoder beside one with a ResNet: python examples/segmentation.py

Needs segmentation_models_pytorch: pip install 'roofline[segmentation]'.
"""

from segmentation_models_pytorch import Unet

import roofline

for encoder in ("efficientnet-b0", "resnet34"):
    net = Unet(encoder, encoder_weights=None, classes=1).eval()
    graph = roofline.trace(net, (1, 3, 512, 512))
    print(f"U-Net with {encoder}, 512 x 512: {graph.params / 1e6:.1f} M parameters")
    for report in roofline.analyze_many(graph, ["t4", "cpu"], [1, 8]):
        parts = {row.name: row.share for row in report.by_module(1)}
        where = ", ".join(f"{name} {share:.0%}" for name, share in sorted(parts.items(), key=lambda part: -part[1]))
        device, times = report.hardware.id, f"{report.latency * 1e3:7.1f} ms"
        print(f"  {device:10} batch {report.batch}  {times}, {report.macs / 1e9:6.1f} GMACs, {report.bound}-bound; {where}")
