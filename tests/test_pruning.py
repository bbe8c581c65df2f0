"""Checks pruning by channels against networks that were really built narrower, and the sizes it is made of."""

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Branches, cnns, ints, only, traced, traced_cnn
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.regnet import BlockParams

import roofline
from roofline.cost import Cost, cost
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.transforms.changes import parse_changes
from roofline.transforms.channels import Sets
from roofline.transforms.pruning import rounded

quick = settings(max_examples=30, deadline=None)


def pruned(graph: Graph, *texts: str) -> Graph:
    """Prune, and check the graph's invariants."""
    found = parse_changes(texts)(graph)
    found.check()
    return found


def remarks(graph: Graph, text: str) -> tuple[str, ...]:
    """Return what a reader is told of a what-if."""
    return parse_changes([text]).explained(graph)[1]


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights by name."""
    return {t.name: t.shape for t in graph.weights}


# --- against networks built narrower -----------------------------------------------------------------------------------


def halved(model: nn.Module) -> nn.Module:
    """Build every layer of *model* half as wide, by hand: all channels but those of the image and of the classes."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    classifier = [name for name, layer in layers if isinstance(layer, nn.Linear)][-1]

    def half(n: int, keep: bool = False) -> int:
        assert keep or n % 2 == 0
        return n if keep else n // 2

    for name, layer in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        new: nn.Module | None = None
        if isinstance(layer, nn.Conv2d):
            groups = layer.groups if layer.groups == 1 else half(layer.groups)
            new = nn.Conv2d(
                half(layer.in_channels, layer.in_channels == 3), half(layer.out_channels), layer.kernel_size, layer.stride, layer.padding,
                layer.dilation, groups, layer.bias is not None,
            )  # type: ignore[arg-type] # fmt: skip
        elif isinstance(layer, nn.Linear):
            new = nn.Linear(half(layer.in_features), half(layer.out_features, name == classifier), layer.bias is not None)
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm2d(half(layer.num_features), layer.eps, layer.momentum)
        elif isinstance(layer, nn.LayerNorm):
            new = type(layer)([half(n) for n in layer.normalized_shape], layer.eps)
        if new is not None:
            setattr(model.get_submodule(parent), last, new)
        if hasattr(layer, "layer_scale"):
            layer.layer_scale = nn.Parameter(layer.layer_scale[: half(len(layer.layer_scale))])
    return model


def googlenet() -> nn.Module:
    return torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False, num_classes=10)


def regnet_y() -> nn.Module:
    """Four groups of 8, then of 16 channels."""
    blocks = BlockParams(depths=[1, 2], widths=[32, 64], group_widths=[8, 16], bottleneck_multipliers=[1, 1], strides=[2, 2], se_ratio=0.25)
    return torchvision.models.RegNet(blocks)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18, "resnet50": torchvision.models.resnet50, "resnext50": torchvision.models.resnext50_32x4d,
    "mobilenet_v2": torchvision.models.mobilenet_v2, "mobilenet_v3": torchvision.models.mobilenet_v3_small,
    "efficientnet_b0": torchvision.models.efficientnet_b0, "densenet121": torchvision.models.densenet121,
    "shufflenet": torchvision.models.shufflenet_v2_x0_5, "googlenet": googlenet, "regnet_y": regnet_y,
    "vgg11": torchvision.models.vgg11_bn, "convnext": torchvision.models.convnext_tiny, "mnasnet": torchvision.models.mnasnet1_0,
}  # fmt: skip


def assert_alike(one: Graph, other: Graph) -> None:
    """Compare two graphs op by op: names, arguments, shapes, and what each costs."""
    assert [op.name for op in one.ops] == [op.name for op in other.ops]
    for a, b in zip(one.ops, other.ops, strict=True):
        assert [one.tensors[t].shape for t in a.inputs] == [other.tensors[t].shape for t in b.inputs], a
        assert [one.tensors[t].shape for t in a.outputs] == [other.tensors[t].shape for t in b.outputs], a
        assert a.attrs == b.attrs, a
        assert cost([a], one) == cost([b], other)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_the_channels_cost_what_a_network_of_half_the_width_costs(name: str) -> None:
    with torch.device("meta"):
        whole, narrow = NETWORKS[name](), halved(NETWORKS[name]())
    before = traced(whole, (2, 3, 224, 224))
    after, real = pruned(before, "prune=0.5:1"), traced(narrow, (2, 3, 224, 224))
    assert_alike(after, real)
    assert shapes(after) == shapes(real)
    assert after.params < before.params / 2


def test_a_pruned_vision_transformer_is_one_of_half_the_width_with_as_many_heads() -> None:
    with torch.device("meta"):
        whole, half = (VisionTransformer(img_size=32, patch_size=8, embed_dim=dim, depth=2, num_heads=3) for dim in (192, 96))
    graph = pruned(traced(whole, (2, 3, 32, 32)), "prune=0.5")
    real = traced(half, (2, 3, 32, 32))
    assert shapes(graph) == shapes(real)
    scale = {"scale"}  # of attention: traced as a number that depends on the width of a head
    assert [{k: v for k, v in op.attrs.items() if k not in scale} for op in graph.ops] == [
        {k: v for k, v in op.attrs.items() if k not in scale} for op in real.ops
    ]
    assert sum((cost([op], graph) for op in graph.ops), Cost()) == sum((cost([op], real) for op in real.ops), Cost())


@pytest.mark.parametrize(
    "name", ["convnext_atto", "swin_tiny_patch4_window7_224", "mixer_s32_224", "nfnet_l0", "levit_128s", "hrnet_w18_small"]
)
def test_other_families_shrink_and_stay_sound(name: str) -> None:
    with torch.device("meta"):
        graph = traced(timm.create_model(name), (1, 3, 224, 224))
    narrow = pruned(graph, "prune=0.5")
    assert narrow.params < 0.6 * graph.params
    assert [graph.tensors[t].shape for t in graph.outputs] == [narrow.tensors[t].shape for t in narrow.outputs]


def test_pruning_holds_at_every_batch_size() -> None:
    graph = traced_cnn(("depthwise", "residual", "gate", "branches"))
    assert pruned(graph, "prune=0.5:1").with_batch(16) == pruned(graph.with_batch(16), "prune=0.5:1")


@quick
@given(cnns(), st.sampled_from(["0.25:1", "0.5:1", "0.5:2", "0.75:1", "0.5"]))
def test_pruning_never_adds_anything_and_keeps_what_goes_in_and_out(graph: Graph, share: str) -> None:
    before = graph.to_json()
    after = pruned(graph, f"prune={share}")
    assert graph.to_json() == before
    assert [op.name for op in after.ops] == [op.name for op in graph.ops]
    assert all(a.shape == b.shape for a, b in zip(after.inputs, graph.inputs, strict=True))
    assert [after.tensors[t].shape for t in after.outputs] == [graph.tensors[t].shape for t in graph.outputs]
    assert all(0 < n <= m for a, b in zip(after.tensors, graph.tensors, strict=True) for n, m in zip(a.shape, b.shape, strict=True))
    assert after.params <= graph.params


@quick
@given(cnns(), st.sampled_from([("fold-bn",), ("weights=int8",), ("int8",), ("fuse-all",), ("precision=fp16",)]))
def test_pruning_and_other_changes_may_come_in_either_order(graph: Graph, others: tuple[str, ...]) -> None:
    one, other = pruned(graph, "prune=0.5:1", *others), pruned(graph, *others, "prune=0.5:1")
    read = {t for op in one.ops for t in (*op.inputs, *op.outputs)}  # a norm that is folded away keeps its weights, unread
    assert [one.tensors[t].shape for t in sorted(read)] == [other.tensors[t].shape for t in sorted(read)]
    assert one.kernels == other.kernels


# --- where and how much ------------------------------------------------------------------------------------------------


CHAIN = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU(), nn.Conv2d(32, 8, 1))


def test_a_pattern_prunes_what_the_layers_chosen_make_and_what_reads_it() -> None:
    narrow = pruned(traced(CHAIN, (1, 3, 8, 8)), "prune=0.5@2")
    assert {k: v for k, v in shapes(narrow).items() if "weight" in k} == {
        "0.weight": (16, 3, 3, 3), "2.weight": (16, 16, 1, 1), "4.weight": (8, 16, 1, 1),
    }  # fmt: skip


def test_layers_can_be_left_out() -> None:
    narrow = shapes(pruned(traced(CHAIN, (1, 3, 8, 8)), "prune=0.5@!0"))
    assert (narrow["0.weight"][0], narrow["2.weight"][0]) == (16, 16)


def test_different_shares_for_different_layers() -> None:
    narrow = shapes(pruned(traced(CHAIN, (1, 3, 8, 8)), "prune=0.5@0", "prune=0.25@2"))
    assert (narrow["0.weight"][0], narrow["2.weight"][0]) == (8, 24)


class Sum(nn.Module):
    """Add what two layers make."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.one(x) + self.two(x))


def test_channels_shared_with_a_layer_not_chosen_stay_and_are_named() -> None:
    graph = traced(Sum(), (1, 3, 4, 4))
    assert pruned(graph, "prune=0.5@one").params == graph.params
    assert remarks(graph, "prune=0.5@one")[1:] == (
        "prune=0.5@one: no channel could be dropped", "prune=0.5@one: one left alone (shared with two, which is not chosen)",
    )  # fmt: skip
    assert shapes(pruned(graph, "prune=0.5@one,two"))["head.weight"] == (4, 8, 1, 1)


def test_channels_that_cannot_be_followed_stay_and_the_op_is_named() -> None:
    graph = traced(lambda x, w, v: F.conv2d(F.conv2d(x, w)[:, ::2], v), (1, 3, 4, 4), weights=[(16, 3, 1, 1), (4, 8, 1, 1)])
    assert pruned(graph, "prune=0.5:1").params == graph.params
    assert any("slice in the network" in remark for remark in remarks(graph, "prune=0.5:1"))


@pytest.mark.parametrize(
    ("target", "step", "count"), [(32, 8, 32), (36, 8, 40), (35, 8, 32), (35.9, 8, 40), (12, 8, 16), (3, 8, 8), (10.4, 1, 10), (28, 16, 32)]
)
def test_widths_are_rounded_as_width_multipliers_do(target: float, step: int, count: int) -> None:
    assert rounded(target, step) == count


def test_the_multiple_is_that_of_whole_dimensions() -> None:
    """Groups of four: the 16 that are left of 32 make 64 channels, a multiple of 8, so pairs of groups go."""
    graph = traced(nn.Sequential(nn.Conv2d(3, 88, 1), nn.Conv2d(88, 88, 3, groups=22), nn.Conv2d(88, 4, 1)), (1, 3, 8, 8))
    narrow = pruned(graph, "prune=0.3")
    assert only_groups(narrow) == 16  # 15.4 of 22 would be 62 channels
    assert shapes(narrow)["1.weight"] == (64, 4, 3, 3)


def only_groups(graph: Graph) -> int:
    """Return the groups of the one grouped convolution."""
    return next(op.attrs["groups"] for op in graph.ops if op.attrs.get("groups", 1) > 1)


def test_flattened_images_take_their_pixels_with_them() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 10)), (1, 3, 8, 8))
    assert shapes(pruned(graph, "prune=0.5"))["2.weight"] == (10, 8 * 36)


def test_concatenated_branches_may_differ() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(24, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.cat([self.a(x), self.b(x)], 1))

    assert shapes(pruned(traced(Two(), (1, 3, 4, 4)), "prune=0.5@a"))["head.weight"] == (4, 16, 1, 1)


def test_halves_stay_halves() -> None:
    graph = traced(nn.Sequential(nn.Conv2d(3, 16, 1), Branches(16), nn.Conv2d(16, 4, 1)), (1, 3, 4, 4))
    assert shapes(pruned(graph, "prune=0.5:1"))["1.left.weight"] == (4, 4, 1, 1)


def test_arguments_that_name_sizes_change_with_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16), nn.Flatten(2), nn.Conv1d(16, 4, 1))
    graph = pruned(traced(net, (1, 3, 4, 4)), "prune=0.5:1")
    assert shapes(graph)["1.weight"] == (8,)
    norm = traced(lambda x, w: F.layer_norm(F.linear(x, w), [16]).view(2, 4, 4).sum(), (2, 3), weights=[(16, 3)])
    assert only(pruned(norm, "prune=0.5:1"), "layer_norm").attrs["normalized_shape"] == (8,)
    assert only(pruned(norm, "prune=0.5:1"), "view").attrs["size"] == (2, 4, 2)


def test_a_network_without_products_stays() -> None:
    graph = traced(nn.Embedding(10, 4), ints(2, 3))
    assert pruned(graph, "prune=0.5:1") == graph


def test_a_graph_fixed_at_a_batch_can_be_pruned() -> None:
    from dataclasses import replace

    graph = replace(traced_cnn(("conv", "residual")), batch=None)
    assert pruned(graph, "prune=0.5:1").params < graph.params


@pytest.mark.parametrize("text", ["prune", "prune=", "prune=0", "prune=1", "prune=x", "prune=0.5:0", "prune=0.5:x", "prune=nan"])
def test_a_share_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(RooflineError, match=r"bad what-if .*; write prune=RATIO\[:MULTIPLE\], a share between 0 and 1 such as prune=0.5"):
        parse_changes([text])


def test_the_report_says_that_accuracy_is_not_predicted_and_names_what_was_left_alone() -> None:
    report = roofline.analyze(traced(Sum(), (1, 3, 4, 4)), "t4", what_if=["prune=0.5@one"])
    assert report.remarks[0] == "accuracy is not predicted; it may suffer from prune=0.5@one"
    assert all(" ".join(remark.split()) in " ".join(str(report).split()) for remark in report.remarks)


# --- sizes -------------------------------------------------------------------------------------------------------------


def test_equal_sizes_shrink_together() -> None:
    sets = Sets()
    a, b = sets.new(8), sets.new(8)
    sets.same(a, b, "")
    assert sets.terms(a) == sets.terms(b)


def test_a_sum_is_cut_where_another_one_is() -> None:
    sets = Sets()
    (a, b), (c, d) = (sets.new(10), sets.new(6)), (sets.new(4), sets.new(12))
    sets.same(a + b, c + d, "")
    assert [sets.total(sets.terms(size)) for size in (a, b, c, d)] == [10, 6, 4, 12]
    assert len(sets.terms(a)) == 2
    assert sets.terms(a)[0] == sets.terms(c)[0]


def test_equal_parts_are_multiples_of_one_set() -> None:
    sets = Sets()
    whole = sets.new(12)
    part = sets.equal_parts(whole, 3, "")
    assert sets.terms(whole) == ((part[0][0], 3),)
    assert sets.total(part) == 4


def test_multiples_that_do_not_fit_stay() -> None:
    sets = Sets()
    a, b = sets.new(3), sets.new(2)
    sets.same(((a[0][0], 2),), ((b[0][0], 3),), "why")  # both are 6, of a set of 1 that cannot be halved
    assert sets.total(sets.terms(a)) == 3
    assert not sets.is_fixed(a)
    c, d = sets.new(5), sets.new(10)
    sets.same(((c[0][0], 2),), d, "why")
    assert sets.terms(d) == ((c[0][0], 2),)


def test_what_is_fixed_fixes_what_equals_it() -> None:
    sets = Sets()
    a, b = sets.new(6, "an input"), sets.new(2) + sets.new(4)
    sets.same(b, a, "")
    assert sets.is_fixed(b)
    assert sets.reason(b) == "an input"


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_sizes_keep_their_totals_however_they_are_cut(one: list[int], other: list[int]) -> None:
    sets = Sets()
    total = sum(one) * sum(other)
    left = [((sets.new(n)[0][0], sum(other)),) for n in one]
    right = [((sets.new(n)[0][0], sum(one)),) for n in other]
    sets.same(tuple(t for s in left for t in s), tuple(t for s in right for t in s), "")
    for sizes, counts, times in ((left, one, sum(other)), (right, other, sum(one))):
        assert [sets.total(sets.terms(s)) for s in sizes] == [n * times for n in counts]
    assert sum(sets.total(s) for s in left) == total
