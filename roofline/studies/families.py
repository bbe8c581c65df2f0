"""The networks that a zoo shows without being asked for others."""

from collections.abc import Mapping

CURATED: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "EfficientNet": tuple(
        (f"efficientnet_b{i}", f"tf_efficientnet_b{i}.aa_in1k", px) for i, px in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    ),
    "EfficientNet-Lite": (
        ("efficientnet_lite0", "tf_efficientnet_lite0.in1k", 224), ("efficientnet_lite4", "tf_efficientnet_lite4.in1k", 380),
    ),
    "EfficientNetV2": (("efficientnetv2_s", "tf_efficientnetv2_s.in1k", 384), ("efficientnetv2_m", "tf_efficientnetv2_m.in1k", 480)),
    "MobileNet": (
        ("mobilenetv1_100", "mobilenetv1_100.ra4_e3600_r224_in1k", 224), ("mobilenetv2_100", "mobilenetv2_100.ra_in1k", 224),
        ("mobilenetv3_large_100", "mobilenetv3_large_100.ra_in1k", 224), ("mobilenetv3_small_100", "mobilenetv3_small_100.lamb_in1k", 224),
        ("mnasnet_100", "mnasnet_100.rmsp_in1k", 224), ("ghostnet_100", "ghostnet_100.in1k", 224),
        ("shufflenet_v2_x1_0", "shufflenet_v2_x1_0.tv_in1k", 224),
    ),
    "ResNet": (
        *((f"resnet{n}", f"resnet{n}.tv_in1k", 224) for n in (18, 34, 50, 101, 152)),
        ("wide_resnet50_2", "wide_resnet50_2.tv_in1k", 224), ("resnext50_32x4d", "resnext50_32x4d.tv_in1k", 224),
        ("resnext101_32x8d", "resnext101_32x8d.tv_in1k", 224),
    ),
    "SENet": (("legacy_seresnet50", "legacy_seresnet50.in1k", 224), ("legacy_senet154", "legacy_senet154.in1k", 224)),
    "DenseNet": tuple((f"densenet{n}", f"densenet{n}.tv_in1k", 224) for n in (121, 169, 201)),
    "Inception": (
        ("googlenet", "googlenet.tv_in1k", 224), ("inception_v3", "inception_v3.tv_in1k", 299),
        ("inception_v4", "inception_v4.tf_in1k", 299),
        ("inception_resnet_v2", "inception_resnet_v2.tf_in1k", 299), ("legacy_xception", "legacy_xception.tf_in1k", 299),
    ),
    "architecture search": (
        ("nasnetalarge", "nasnetalarge.tf_in1k", 331), ("pnasnet5large", "pnasnet5large.tf_in1k", 331),
        ("amoebanet_a_18_190", "amoebanet_a_18_190.paper_in1k", 331), ("amoebanet_b_18_512", "amoebanet_b_18_512.paper_in1k", 480),
    ),
    "VGG and AlexNet": (
        ("alexnet", "alexnet.tv_in1k", 224), ("vgg16", "vgg16.tv_in1k", 224), ("vgg19", "vgg19.tv_in1k", 224),
        ("squeezenet1_1", "squeezenet1_1.tv_in1k", 224),
    ),
    "RegNet and ConvNeXt": (
        ("regnety_032", "regnety_032.pycls_in1k", 224), ("regnety_080", "regnety_080.pycls_in1k", 224),
        ("convnext_tiny", "convnext_tiny.fb_in1k", 224), ("convnext_base", "convnext_base.fb_in1k", 224),
    ),
    "transformers": (
        ("deit_small_patch16_224", "deit_small_patch16_224.fb_in1k", 224),
        ("vit_base_patch16_224", "vit_base_patch16_224.augreg_in1k", 224),
        ("swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224.ms_in1k", 224),
    ),
}  # fmt: skip
"""Networks of all families with the weights whose accuracy stands for them, those of its authors' recipe where they are published,
trained on ImageNet-1k alone, and the image size of that figure. EfficientNets are built with symmetric padding, not TensorFlow's."""
