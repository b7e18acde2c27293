"""ControlNets in their real layouts on disk, whole and wrong, through the code that loads them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file

from streamcam.diffusion.control_stages import Adapt, adapter_shapes, residual_shapes
from streamcam.diffusion.residuals import pack
from streamcam.errors import ConfigError, ModelError
from streamcam.models.controlnet import LoadedControl, load_controls
from streamcam.models.presence import check_image_models
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.support.layouts import edit_json
from tests.support.single_files import original_unet_names
from tests.support.streams import TINY


@cache
def unet_of(architecture: str) -> Any:
    return random_pipeline(f"tiny-{architecture}").unet


def config_of(item: Any, **settings: Any) -> Config:
    shown = {} if "control" in settings else {"control": {"net": "image"}}
    return build_config([TINY, {"controlnet": {str(item): 1.0}}, shown, settings])


def load(item: Any, architecture: str = "sd-1.5") -> Any:
    controls = load_controls(config_of(item), unet_of(architecture), torch.float32, lambda _: None)
    return controls.nets[0].module


def refusal(item: Any, architecture: str = "sd-1.5") -> str:
    with pytest.raises(ModelError) as refused:
        load(item, architecture)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def saved(architecture: str, folder: Path) -> Path:
    torch.manual_seed(0)
    net = diffusers.ControlNetModel.from_unet(unet_of(architecture))
    net.save_pretrained(folder / "net")
    return folder / "net"


def saved_union(folder: Path, *, types: int = 6) -> Path:
    torch.manual_seed(0)
    config = diffusers.ControlNetModel.from_unet(unet_of("sdxl")).config
    sizes = {"num_control_type": types, "num_trans_channel": 16, "num_proj_channel": 16}
    net = diffusers.ControlNetUnionModel.from_config(dict(config) | sizes)
    net.save_pretrained(folder / "net")
    return folder / "net"


@pytest.mark.parametrize("architecture", ["sd-1.5", "sd-2.1", "sdxl"])
@pytest.mark.parametrize("layout", ["folder", "file", "original"])
def test_every_layout_is_read(architecture: str, layout: str, tmp_path: Path) -> None:
    folder = saved(architecture, tmp_path)
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    item = folder
    if layout != "folder":
        names = original_names(weights) if layout == "original" else {n: n for n in weights}
        item = tmp_path / "net.safetensors"
        save_file({names[name]: weight for name, weight in weights.items()}, item)
    read = load(item, architecture).state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("layout", ["ControlNetUnionModel", "ControlNetModel_Union", "file"])
def test_every_layout_of_a_union_is_read(layout: str, tmp_path: Path) -> None:
    folder = saved_union(tmp_path, types=8)
    file = folder / "diffusion_pytorch_model.safetensors"
    edit_json(folder / "config.json", _class_name=layout)
    if layout == "file":
        file = file.rename(tmp_path / "net.safetensors")
    net = load(file if layout == "file" else folder, "sdxl")
    assert isinstance(net, diffusers.ControlNetUnionModel)
    read, weights = net.state_dict(), load_file(file)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": {"net": "image"}}, "has no type for image: show it pose, depth, softedge"),
        (
            {"control": {"net": "a.mp4"}},
            "nothing says what its images show: add --set control_type",
        ),
    ],
)
def test_a_union_is_told_what_its_images_show(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = config_of(saved_union(tmp_path), **settings)
    with pytest.raises(ModelError, match=message):
        load_controls(config, unet_of("sdxl"), torch.float32, lambda _: None)
    for kind, number in (("openpose", 0), ("scribble", 2), ("edges", 3), ("normal", 4)):
        config = config_of(tmp_path / "net", **settings, control_type=f"net:{kind}")
        (net,) = load_controls(config, unet_of("sdxl"), torch.float32, lambda _: None).nets
        assert net.union_type == number


def original_names(names: Any) -> dict[str, str]:
    """Return the names of the first releases for those of diffusers."""
    layers = single_file_utils.DIFFUSERS_TO_LDM_MAPPING["controlnet"]["layers"]
    embedding = {
        "controlnet_cond_embedding.conv_in": "input_hint_block.0",
        "controlnet_cond_embedding.conv_out": "input_hint_block.14",
        "controlnet_mid_block": "middle_block_out.0",
    }
    unet = original_unet_names(
        [n for n in names if not n.startswith("controlnet_") and n not in layers]
    )
    originals = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        head, _, number = layer.rpartition(".")
        if name in layers:
            original = layers[name]
        elif layer in embedding:
            original = f"{embedding[layer]}.{kind}"
        elif head == "controlnet_cond_embedding.blocks":
            original = f"input_hint_block.{2 * int(number) + 2}.{kind}"
        elif head == "controlnet_down_blocks":
            original = f"zero_convs.{number}.0.{kind}"
        else:
            original = unet[name]
        originals[name] = f"control_model.{original}"
    return originals


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = saved("sd-1.5", tmp_path)
    assert "choose a ControlNet that was made for SDXL" in refusal(folder, "sdxl")
    edit_json(folder / "config.json", conditioning_channels=4, _class_name="UNet2DModel")
    assert "is a UNet2DModel; --controlnet takes a ControlNetModel, a" in refusal(folder)
    edit_json(folder / "config.json", _class_name="ControlNetXSAdapter")
    assert "is a ControlNet-XS, which is built into the U-Net" in refusal(folder)
    (folder / "config.json").unlink()
    assert "holds no ControlNet" in refusal(folder)
    lora = tmp_path / "net.safetensors"
    save_file({"lora_unet.weight": torch.zeros(1)}, lora)
    assert "no ControlNet: it is a Control-LoRA or a LoRA" in refusal(lora)
    pickled = tmp_path / "pickled" / "net"
    pickled.mkdir(parents=True)
    (pickled / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    (pickled / "diffusion_pytorch_model.bin").write_bytes(b"")
    assert "pickled, which can run code" in refusal(pickled)


def lack(weights: dict[str, torch.Tensor]) -> None:
    del weights["controlnet_mid_block.weight"]


def spoil(weights: dict[str, torch.Tensor]) -> None:
    weights["controlnet_mid_block.weight"].fill_(float("nan"))


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lack, "lacks 1 of its weights, such as controlnet_mid_block.weight; fetch"),
        (spoil, "holds values that are no numbers"),
        (None, "is damaged or cut off"),
    ],
)
def test_a_damaged_controlnet_is_refused_with_the_remedy(
    damage: Callable[[dict[str, torch.Tensor]], None] | None,
    message: str,
    layout: str,
    tmp_path: Path,
) -> None:
    folder = saved("sd-1.5", tmp_path)
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    if damage:
        damage(weights)
        save_file(weights, file)
    else:
        file.write_bytes(file.read_bytes()[:5000])
    assert message in refusal(
        folder if layout == "folder" else file.rename(tmp_path / "net.safetensors")
    )


def test_a_controlnet_of_other_channels_or_for_another_family_is_refused(tmp_path: Path) -> None:
    config = diffusers.ControlNetModel.from_unet(unet_of("sd-1.5")).config
    for settings, message in (
        ({"conditioning_channels": 4}, "is shown 4 channels, not an image"),
        ({"cross_attention_dim": 1024}, "is made for SD 2.x, and the model is SD 1.x"),
    ):
        net = diffusers.ControlNetModel.from_config(dict(config) | settings)
        net.save_pretrained(tmp_path / "net")
        assert message in refusal(tmp_path / "net")


def test_what_is_nowhere_is_refused(tmp_path: Path) -> None:
    assert "no file or folder here, nor a hub id" in refusal(tmp_path / "net")


def saved_adapter(folder: Path, **settings: Any) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": [16, 32, 32, 32], "num_res_blocks": 1}
    net = diffusers.T2IAdapter(**sizes | {"adapter_type": "full_adapter"} | settings)
    net.save_pretrained(folder / "net")
    return folder / "net"


def test_a_t2i_adapter_for_another_base_or_for_no_image_is_refused(tmp_path: Path) -> None:
    wider = saved_adapter(tmp_path, channels=[16, 64])
    assert "is a T2I-Adapter for SD 1.x and 2.x of [16, 64] channels" in refusal(wider)
    assert "is shown 4 channels, not an image" in refusal(saved_adapter(tmp_path, in_channels=4))
    xl = saved_adapter(tmp_path, adapter_type="full_adapter_xl", downscale_factor=16)
    assert "is a T2I-Adapter for SDXL" in refusal(xl)


def test_a_t2i_adapter_of_grey_images_is_shown_grey(tmp_path: Path) -> None:
    net = load(saved_adapter(tmp_path, in_channels=1))
    assert adapter_shapes(net, 64, 64)[0] == (16, 8, 8)
    grey = torch.rand(1, 1, 64, 64)
    shown = Adapt(net, "net")(grey.expand(-1, 3, -1, -1))
    assert torch.allclose(shown, pack(net(grey)), atol=1e-6)


def test_two_t2i_adapters_for_other_layers_are_refused(tmp_path: Path) -> None:
    light = {"adapter_type": "light_adapter", "channels": [16, 32]}
    nets = [
        LoadedControl(name, load(saved_adapter(tmp_path, **settings)))
        for name, settings in {"full": {}, "light": light}.items()
    ]
    with pytest.raises(ModelError, match="the T2I-Adapters full and light add to other layers"):
        residual_shapes(nets, unet_of("sd-1.5"), (4, 8, 8), (64, 64))


def test_what_is_surely_missing_is_said_without_loading_anything() -> None:
    with pytest.raises(ModelError, match="nano has a U-Net of its own"):
        check_image_models(config_of("random:net", model="nano"))
    for name in ("someone/net", "someone/net/folder/net.safetensors"):
        with pytest.raises(
            ModelError, match=r'no model someone/net.*models pull" and the same sett'
        ):
            check_image_models(config_of(name, offline=True))
    for kind in ("depth", "pose", "segmentation"):
        settings = {"control": {"net": kind}, f"{kind}_model": "someone/model", "offline": True}
        with pytest.raises(ModelError, match="no model someone/model"):
            check_image_models(config_of("random:net", **settings))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("lllyasviel/control_v11p_sd15_canny", ("edges", "")),
        ("diffusers/controlnet-depth-sdxl-1.0-small", ("depth", "")),
        ("lllyasviel/sd-controlnet-hed", ("softedge", "")),
        ("TencentARC/t2i-adapter-lineart-sdxl-1.0", ("lineart", "")),
        ("lllyasviel/control_v11f1e_sd15_tile", ("image", "")),
        ("lllyasviel/control_v11p_sd15_openpose", ("pose", "")),
        ("lllyasviel/control_v11p_sd15_seg", ("segmentation", "")),
    ],
)
def test_the_name_of_a_controlnet_says_what_it_is_shown(name: str, shown: tuple[str, str]) -> None:
    config = build_config([TINY, {"controlnet": name}])
    assert [*config.control_inputs.values()] == [shown]


@pytest.mark.parametrize(
    ("control", "shown"),
    [
        ("net:edges", ("edges", "")),
        ("net:edges:clip.mp4", ("edges", "clip.mp4")),
        ("net:camera:Depth Sensor", ("image", "camera:Depth Sensor")),
        ("net:poses.mp4", ("image", "poses.mp4")),
        ("net:openpose:dance.mp4", ("pose", "dance.mp4")),
        ("net:seg", ("segmentation", "")),
    ],
)
def test_control_says_what_a_controlnet_is_shown(control: str, shown: tuple[str, str]) -> None:
    assert config_of("some/net-openpose", control=control).control_inputs == {"net-openpose": shown}


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({}, 'nothing says what the controlnet "net-normalbae" is shown; add --control'),
        ({"control": "depth:edges"}, 'no controlnet "depth"'),
        ({"control": "net"}, "needs NAME:INPUT"),
        ({"control": "net:egdes"}, 'no input "egdes": did you mean "edges"?'),
        ({"control": "net:openpos:clip.mp4"}, 'no input "openpos": did you mean "openpose"?'),
        ({"control": ["net:edges", "net:depth"]}, "net is named twice; name it once"),
        ({"controlnet": ["a/net:1", "a/net:0.5"]}, "a/net is named twice; name it once"),
        ({"control": "net:edges", "dtype": "int8"}, "int8 cannot run with a controlnet"),
        ({"control": "net:edges", "pipeline": "video"}, "video has no ControlNets"),
        (
            {"control": "net:edges", "control_type": "net:poes"},
            'no type "poes": did you mean "pose"',
        ),
        ({"control": "net:edges", "control_type": "other:pose"}, 'no controlnet "other"'),
    ],
)
def test_settings_that_cannot_be_are_refused(control: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config([TINY, {"controlnet": "some/net-normalbae", **control}])
