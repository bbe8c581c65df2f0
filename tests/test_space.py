"""Search spaces: what a YAML file may hold, what it may not, and what is chosen of it."""

from pathlib import Path

import pytest
from architectures import B0
from optuna.trial import FixedTrial

from roofline.errors import RooflineError
from roofline.studies.space import ArchitectureSpace, load_space, space_of
from roofline.tracing.architecture import Architecture, Block, Stage


def read(text: str, tmp_path: Path) -> ArchitectureSpace:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path)


# --- what a file may hold ---------------------------------------------------------------------------------------------


def test_a_space_without_choices_is_one_network(tmp_path: Path) -> None:
    space = read("resolution: 160\nstages:\n  - {depth: 2, width: 24, kernel: 5, stride: 2, expansion: 4, squeeze: 0}\n", tmp_path)
    assert space.size == 1
    assert space.propose(FixedTrial({})) == Architecture((Stage(2, 24, 5, 2, 4.0, 0.0),), resolution=160)


def test_values_lists_and_ranges_are_counted_and_chosen(tmp_path: Path) -> None:
    space = read(
        "stem: {from: 16, to: 32, step: 8}\nstages:\n  - {depth: {from: 1, to: 4}, width: 24, expansion: {from: 2, to: 3, step: 0.5}}\n"
        "  - {depth: 1, width: [32, 48], block: [mbconv, fused], activation: [relu, gelu]}\n",
        tmp_path,
    )
    assert space.size == 3 * 4 * 3 * 2 * 2 * 2
    chosen = {
        "stem": 24, "stages.0.depth": 3, "stages.0.expansion": 2.5, "stages.1.width": 48, "stages.1.block": "fused",
        "stages.1.activation": "gelu",
    }  # fmt: skip
    wanted = Architecture((Stage(3, 24, expansion=2.5), Stage(1, 48, activation="gelu", block="fused")), stem=24)
    assert space.propose(FixedTrial(chosen)) == wanted


def test_every_field_has_a_default_but_depth_and_width(tmp_path: Path) -> None:
    assert read("stages: [{depth: 1, width: 16}]", tmp_path).propose(FixedTrial({})) == Architecture((Stage(1, 16),))


def test_the_same_space_has_the_same_description_however_it_is_written(tmp_path: Path) -> None:
    one = read("stages: [{width: [8, 16, 24], depth: 1}]\nstem: 32", tmp_path)
    other = space_of({"stages": [{"depth": 1, "width": {"from": 8, "to": 24, "step": 8}}]})
    assert one.description() == other.description()
    assert one.description() != read("stages: [{width: [8, 16], depth: 1}]", tmp_path).description()


# --- what it may not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; a search space is a mapping of keys"),
        ("- 1", "must be a mapping of keys such as `stages`"),
        ("stem: 32", "stages: is missing"),
        ("stages: 3", "stages: must be a list of stages, not 3"),
        ("stages: []", "stages: has 0 stages"),
        ("stages: [3]", "stages[0]: must be a mapping, not 3"),
        ("stages: [{depth: 1}]", "stages[0].width: is missing"),
        ("stages: [{depth: 1, width: 16, kernel: 4}]", "stages[0].kernel: must be one of 3, 5, 7, not 4"),
        ("stages: [{depth: 1, width: 16, stride: [1, 3]}]", "stages[0].stride: must be one of 1, 2, not 3"),
        ("stages: [{depth: true, width: 16}]", "stages[0].depth: must be whole numbers from 1 to 64, not True"),
        ("stages: [{depth: 0, width: 16}]", "stages[0].depth: must be whole numbers from 1 to 64, not 0"),
        ("stages: [{depth: 1, width: 1.5}]", "stages[0].width: must be whole numbers from 8 to 8192, not 1.5"),
        ("stages: [{depth: 1, width: .nan}]", "stages[0].width: must be whole numbers"),
        ("stages: [{depth: 1, width: 16, expansion: .inf}]", "stages[0].expansion: must be numbers from 1 to 16, not inf"),
        ("stages: [{depth: 1, width: 16, squeeze: 0.001}]", "stages[0].squeeze: must be numbers from 0.015625 to 1"),
        ("stages: [{depth: [], width: 16}]", "stages[0].depth: has no choice"),
        ("stages: [{depth: 1, width: [16, 16]}]", "stages[0].width: lists 16 twice"),
        ("stages: [{depth: 1, width: [[16]]}]", "stages[0].width: must be whole numbers from 8 to 8192, not [16]"),
        ("stages: [{depth: 1, width: {from: 8, to: 30, step: 8}}]", "stages[0].width: never meets 30 in steps of 8 from 8"),
        ("stages: [{depth: {from: 3, to: 1}, width: 16}]", "stages[0].depth: runs from 3 to 1; write the smaller end first"),
        ("stages: [{depth: {from: 1, to: 3, step: 0}, width: 16}]", "stages[0].depth: has a step of 0"),
        ("stages: [{depth: {from: 1, to: 3, step: 0.5}, width: 16}]", "stages[0].depth: has a step of 0.5 between whole numbers"),
        ("stages: [{depth: {from: 1}, width: 16}]", "stages[0].depth: must be a value, a list of choices, or a range"),
        ("stages: [{depth: 1, width: {from: 8, to: 8192}}]", "stages[0].width: has 8185 choices; a field has at most 1000"),
        ("stages: [{depth: 1, width: 16, ksize: 3}]", "stages[0].ksize: unknown key; use depth, width, kernel"),
        ("stages: [{depth: 1, width: 16, activation: tanh}]", "stages[0].activation: must be one of silu, relu"),
        ("stages: [{depth: 1, width: 16, block: {from: 1, to: 2}}]", "stages[0].block: must be one of mbconv, fused"),
        ("stages: [{depth: 1, width: 16}]\nresolution: x", ":2: resolution: must be whole numbers from 32 to 2048, not 'x'"),
        ("stages: [{depth: 1, width: 16}]\nstages: 1", "stages: is given twice"),
    ],
)
def test_a_slip_is_told_with_its_place_and_the_rule(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(RooflineError) as caught:
        read(text, tmp_path)
    message = str(caught.value)
    assert told in message
    assert "(and" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        "stages: !!python/object/apply:os.system [ls]",
        "a: &a [x, *a]",
        "a: &a [x]\nb: [*a, *a]",
        "stages: " + "[" * 5000 + "]" * 5000,
        "stages: [{depth: 1, width: 16}]\n---\nstages: []",
        "stages: [\x00]",
        "stages: {? [1] : 2}",
        "stages: [" + "{depth: 1, width: 16}, " * 40 + "]",
        "\t- x",
    ],
)
def test_hostile_text_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(RooflineError) as caught:
        read(text, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_missing_a_folder_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(RooflineError, match="no such file; give a YAML search space"):
        load_space(tmp_path / "none.yaml")
    with pytest.raises(RooflineError, match="is a folder"):
        load_space(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RooflineError, match="not UTF-8"):
        load_space(tmp_path / "b.yaml")


# --- architectures ----------------------------------------------------------------------------------------------------


def test_efficientnet_b0_has_its_published_size() -> None:
    assert B0.params == 5_288_548  # timm's results tables and torchvision's page: 5.29 M
    assert round(B0.macs / 1e6) == 386  # the paper: 0.39 billion "FLOPs", which are MACs


def test_a_block_by_hand() -> None:
    block = Block("mbconv", 8, 16, 3, 2, 2.0, 0.25, "relu", 5)
    assert (block.expanded, block.squeezed, block.size_out) == (16, 2, 3)
    expand, depthwise, project, gate = 8 * 16, 16 * 9, 16 * 16, 16 * 2 + 2 * 16
    assert block.counts == (
        expand + depthwise + project + 2 * (16 + 16 + 16) + gate + 2 + 16,
        expand * 25 + depthwise * 9 + project * 9 + gate,
    )


def test_a_squeeze_to_no_channel_is_refused() -> None:
    with pytest.raises(RooflineError, match="stage 0 squeezes 8 channels to none"):
        Architecture((Stage(1, 8, squeeze=1 / 64),), stem=8).check()


def test_an_architecture_reads_in_one_line() -> None:
    text = str(Architecture((Stage(2, 24, 5, 2, 4.5, 0, "relu", "fused"), Stage(1, 32)), stem=16, head=64, resolution=96))
    assert text == "96px stem 16, 2 x 24 fused k5 s2 e4.5 relu, 1 x 32 k3 e6 se0.25, head 64"
