"""Checks how names become networks, and what is said when they do not."""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.tracing.models import build, names
from roofline.tracing.spec import BuiltModel, InputSpec, ModelSpec, make_inputs


def shapes(built: BuiltModel) -> list[tuple[int, ...]]:
    """List the shapes of the example inputs."""
    return [tuple(t.shape) for t in built.inputs]


def write(folder: Path, code: str, name: str = "net.py") -> Path:
    """Write a file that a user might have."""
    file = folder / name
    file.write_text("import torch\nfrom torch import nn\n" + code)
    return file


def test_networks_of_timm_are_built_as_its_tables_were_timed() -> None:
    built = build(ModelSpec("test_convnext"), "cpu").module
    norms = [layer for layer in built.modules() if type(layer).__name__.startswith("LayerNorm")]
    assert norms
    assert all(layer._fast_norm for layer in norms)


def test_a_network_of_timm_still_runs_on_the_meta_device() -> None:
    built = build(ModelSpec("test_convnext"))
    assert built.module(*built.inputs).shape == (1, 1000)


# --- names ----------------------------------------------------------------------------------------------------------------


def test_names_match_a_shell_pattern() -> None:
    assert names("efficientnet_b[0-3]") == ("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3")


def test_names_without_wildcards_match_anywhere() -> None:
    found = names("squeezenet")
    assert "torchvision:squeezenet1_0" in found
    assert all("squeezenet" in name for name in found)


def test_all_names_hold_both_zoos() -> None:
    found = names()
    assert {"resnet50", "torchvision:resnet50"} <= set(found)
    assert len(found) > 1000


def test_no_match_is_empty() -> None:
    assert names("no-such-network") == ()


def test_timm_comes_before_torchvision() -> None:
    assert type(build(ModelSpec("resnet18")).module).__module__.startswith("timm.")
    assert type(build(ModelSpec("googlenet")).module).__module__.startswith("torchvision.")


@pytest.mark.parametrize("zoo", ["timm", "torchvision"])
def test_a_prefix_chooses_the_zoo(zoo: str) -> None:
    assert type(build(ModelSpec(f"{zoo}:resnet18")).module).__module__.startswith(f"{zoo}.")


def test_a_timm_name_may_carry_the_tag_of_its_weights() -> None:
    assert shapes(build(ModelSpec("resnet18.a1_in1k"))) == [(1, 3, 224, 224)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficientnet_bo", "did you mean .*efficientnet_b0"),
        ("resnet5O", "did you mean .*resnet50"),
        ("torchvision:resnet5", "did you mean .*resnet50"),
        ("timm:googlenet", "unknown model 'timm:googlenet'"),
        ("qqqq", "unknown model 'qqqq'; `roofline models PATTERN` lists the known ones; your own: net.py:build"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_others(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        build(ModelSpec(name))


def test_an_empty_name_is_an_error() -> None:
    with pytest.raises(RooflineError, match="the model has no name"):
        build(ModelSpec(""))


# --- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [("efficientnet_b3", 288), ("inception_v3", 299), ("nasnetalarge", 331), ("mixer_s32_224", 224), ("torchvision:inception_v3", 299),
     ("torchvision:efficientnet_b3", 300), ("torchvision:resnet18", 224), ("torchvision:vit_b_16", 224), ("torchvision:swin_v2_t", 256)],
)  # fmt: skip
def test_the_default_image_size_is_the_networks_own(name: str, size: int) -> None:
    assert shapes(build(ModelSpec(name))) == [(1, 3, size, size)]


def test_an_image_size_may_be_chosen() -> None:
    assert shapes(build(ModelSpec("efficientnet_b3", image_size=300))) == [(1, 3, 300, 300)]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "torchvision:vit_b_16"])
def test_a_vision_transformer_is_built_for_the_image_size(name: str) -> None:
    built = build(ModelSpec(name, image_size=160))
    positions = next(p for path, p in built.module.named_parameters() if "pos_embed" in path)
    assert positions.shape[1] == 10 * 10 + 1  # patches of 16 pixels, and the class token


def test_input_channels_may_be_chosen_in_timm() -> None:
    built = build(ModelSpec("resnet18", in_chans=1))
    assert shapes(built) == [(1, 1, 224, 224)]
    assert next(iter(built.module.parameters())).shape[1] == 1


def test_a_torchvision_network_takes_three_channels_only() -> None:
    with pytest.raises(ModelError, match="torchvision:resnet18 takes 3 input channels; drop --in-chans"):
        build(ModelSpec("torchvision:resnet18", in_chans=1))
    assert shapes(build(ModelSpec("torchvision:resnet18", in_chans=3))) == [(1, 3, 224, 224)]


def test_an_input_replaces_the_image_size() -> None:
    assert shapes(build(ModelSpec("resnet18", inputs=(InputSpec((2, 3, 96, 128)),)))) == [(2, 3, 96, 128)]


@pytest.mark.parametrize("size", [7, 0, -1, 31, 8193])
def test_an_image_size_that_no_network_takes_is_an_error(size: int) -> None:
    with pytest.raises(RooflineError, match=f"bad image size {size}: efficientnet_b3 takes square images of 32 to 8192 pixels a side"):
        ModelSpec("efficientnet_b3", image_size=size).check()


def test_the_users_own_network_may_take_small_images() -> None:
    ModelSpec("net.py:build", image_size=7).check()
    with pytest.raises(RooflineError, match="bad image size 0"):
        ModelSpec("net.py:build", image_size=0).check()


@pytest.mark.parametrize("channels", [0, -3, 65537])
def test_a_number_of_channels_that_no_network_takes_is_an_error(channels: int) -> None:
    with pytest.raises(RooflineError, match=f"bad number of input channels {channels}"):
        ModelSpec("resnet18", in_chans=channels).check()


def test_a_segmentation_network_asks_for_its_input() -> None:
    with pytest.raises(ModelError, match="torchvision:fcn_resnet50 is no image classifier; say what it takes, such as --input 1,3,520,520"):
        build(ModelSpec("torchvision:fcn_resnet50"))
    assert shapes(build(ModelSpec("torchvision:fcn_resnet50", inputs=(InputSpec((1, 3, 64, 64)),)))) == [(1, 3, 64, 64)]


# --- inputs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1,3,224,224", InputSpec((1, 3, 224, 224), "fp32")),
        ("1,128:int64", InputSpec((1, 128), "int64")),
        (" 4 , 8 ", InputSpec((4, 8))),
        ("1", InputSpec((1,))),
        ("1,3:bool", InputSpec((1, 3), "bool")),
        ("1,3:", InputSpec((1, 3))),
    ],
)
def test_an_input_is_read_from_its_sizes_and_type(text: str, spec: InputSpec) -> None:
    assert InputSpec.parse(text) == spec


@pytest.mark.parametrize("text", ["", ":fp32", "1,x", "1,0,3", "1,-3", "1.5", "1,,3", "99999999999"])
def test_sizes_that_are_no_positive_integers_are_an_error(text: str) -> None:
    with pytest.raises(RooflineError, match=r"bad input .*; write positive sizes with the batch first, such as 1,3,224,224"):
        InputSpec.parse(text)


@pytest.mark.parametrize("text", ["1,3:float", "1,3:fp8", "1,3:fp32:fp32"])
def test_an_unknown_data_type_is_an_error_that_lists_the_known_ones(text: str) -> None:
    with pytest.raises(RooflineError, match=r"unknown data type .*; use one of fp32, fp16, bf16"):
        InputSpec.parse(text)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16), ("int64", torch.int64), ("bool", torch.bool)],
)
def test_inputs_are_made_on_the_meta_device(name: str, dtype: torch.dtype) -> None:
    (tensor,) = make_inputs((InputSpec((2, 3), name),))
    assert (tuple(tensor.shape), tensor.dtype, tensor.is_meta) == ((2, 3), dtype, True)


# --- weights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["efficientnet_b7", "torchvision:regnet_y_400mf", "swin_tiny_patch4_window7_224", "torchvision:googlenet"])
def test_a_network_is_built_without_allocating_its_weights(name: str) -> None:
    built = build(ModelSpec(name))
    assert {t.device.type for t in [*built.module.parameters(), *built.module.buffers(), *built.inputs]} == {"meta"}
    assert not built.module.training
    assert built.trusted


@pytest.mark.parametrize("name", ["torchvision:googlenet", "torchvision:inception_v3"])
def test_a_network_is_built_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(ModelSpec(name))


def test_building_leaves_registration_of_parameters_as_it_was() -> None:
    before = nn.Module.register_parameter
    build(ModelSpec("torchvision:regnet_y_400mf"))  # its initialisation reads numbers, so it is built with patched registration
    assert nn.Module.register_parameter is before
    assert nn.Linear(2, 2).weight.device.type == "cpu"


# --- the user's code -------------------------------------------------------------------------------------------------------


def test_a_file_names_a_function_that_builds_the_network(tmp_path: Path) -> None:
    file = write(tmp_path, "def build():\n    return nn.Conv2d(3, 4, 3)\n")
    built = build(ModelSpec(f"{file}:build"))
    assert shapes(built) == [(1, 3, 224, 224)]
    assert {p.device.type for p in built.module.parameters()} == {"meta"}
    assert not built.trusted


@pytest.mark.parametrize(
    "code", ["net = nn.Linear(3, 4)\n", "class net(nn.Linear):\n    def __init__(self):\n        super().__init__(3, 4)\n"]
)
def test_a_file_may_name_a_module_or_its_class(tmp_path: Path, code: str) -> None:
    file = write(tmp_path, code)
    built = build(ModelSpec(f"{file}:net", inputs=(InputSpec((2, 3)),)))
    assert isinstance(built.module, nn.Linear)
    assert built.module.weight.is_meta


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "WIDTH = 12\n", "roofline_test_neighbour.py")
    file = write(tmp_path, "def build():\n    from roofline_test_neighbour import WIDTH\n    return nn.Linear(3, WIDTH)\n")
    try:
        top = write(tmp_path, "from roofline_test_neighbour import WIDTH\nbuild = lambda: nn.Linear(3, WIDTH)\n", "top.py")
        built = build(ModelSpec(f"{top}:build", inputs=(InputSpec((1, 3)),)))
        assert isinstance(built.module, nn.Linear)
        assert built.module.out_features == 12
        assert build(ModelSpec(f"{file}:build", inputs=(InputSpec((1, 3)),))).module is not None
    finally:
        sys.modules.pop("roofline_test_neighbour", None)
    assert str(tmp_path) not in sys.path


def test_a_module_of_a_package_names_a_callable() -> None:
    built = build(ModelSpec("torchvision.models.squeezenet:squeezenet1_1"))
    assert shapes(built) == [(1, 3, 224, 224)]


def test_the_users_inputs_reach_the_network(tmp_path: Path) -> None:
    file = write(tmp_path, "def build():\n    return nn.Embedding(10, 4)\n")
    built = build(ModelSpec(f"{file}:build", inputs=(InputSpec((2, 5), "int64"),)))
    assert [(tuple(t.shape), t.dtype) for t in built.inputs] == [((2, 5), torch.int64)]


@pytest.mark.parametrize(
    ("code", "attribute", "error", "message"),
    [
        ("raise RuntimeError('no GPU\\nhere')\n", "build", ModelError, r"failed: RuntimeError: no GPU$"),
        ("def build():\n    return 1 / 0\n", "build", ModelError, "failed: ZeroDivisionError: division by zero"),
        ("def build(:\n", "build", ModelError, "failed: SyntaxError"),
        ("import no_such_package_of_anyone\n", "build", ModelError, "failed: No module named 'no_such_package_of_anyone'"),
        ("def make():\n    return nn.ReLU()\n", "build", UnknownNameError, "has no 'build'; it defines torch, nn, make"),
        ("def build():\n    return 'resnet'\n", "build", ModelError, "returned str, not a torch.nn.Module; return the network itself"),
        ("build = 3\n", "build", ModelError, "failed: TypeError: 'int' object is not callable"),
        ("def build(width):\n    return nn.ReLU()\n", "build", ModelError, "failed: TypeError: .*missing 1 required positional argument"),
    ],
)  # fmt: skip
def test_user_code_that_fails_is_an_error_that_names_it(
    tmp_path: Path, code: str, attribute: str, error: type[Exception], message: str
) -> None:
    file = write(tmp_path, code)
    with pytest.raises(error, match=message) as caught:
        build(ModelSpec(f"{file}:{attribute}"))
    assert "net.py" in str(caught.value)


def test_a_file_that_does_not_exist_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model file '.*nothing\.py': no such file"):
        build(ModelSpec(f"{tmp_path}/nothing.py:build"))


def test_a_package_that_does_not_exist_is_an_unknown_name() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown model 'nowhere\.net:build': no module named 'nowhere'; for a file write path/to/net.py:build"
    ):
        build(ModelSpec("nowhere.net:build"))


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("resnet18", False),
        ("timm:resnet18", False),
        ("torchvision:resnet18", False),
        ("net.py:build", True),
        ("package.net:build", True),
        ("net.pt2", False),
    ],
)
def test_only_files_and_modules_run_user_code(name: str, user: bool) -> None:
    assert ModelSpec(name).runs_user_code is user
