"""What a performer may ask a cluster for, as it is sent and as it is read."""

import json
from typing import Any

import pytest

from streamcam.errors import ConfigError
from streamcam.runtime.cluster.cluster_link import parse_places
from streamcam.runtime.cluster.engine_request import parse_request, request_text, with_request
from streamcam.runtime.remote.wire import WireError
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config


def asked(**settings: Any) -> Config:
    return build_config([{"engine": "ray://head", **settings}])


def test_both_sides_run_the_same_model_steps_and_size() -> None:
    config = asked(model="identity", width=64, height=48, steps=3, prompt="ink", device="cpu")
    ours, request = with_request(config), parse_request(request_text(config))
    for name in ("model", "width", "height", "num_steps", "cfg_type"):
        assert getattr(ours, name) == getattr(request.config, name)
    assert ours.live.prompt[0][0] == "ink"
    assert (ours.broadcast.engine, request.config.broadcast.engine) == ("ray://head", None)
    # A link that is started again asks for the same.
    assert request_text(ours) == request_text(config)


def test_without_a_model_a_cluster_runs_nano_in_the_shape_of_the_canvas() -> None:
    config = with_request(asked(canvas="640x640"))
    assert (config.model, config.width, config.height) == ("nano", 256, 256)


def test_streams_share_engines_whatever_their_prompts_are() -> None:
    keys = [
        parse_request(request_text(asked(model="nano", **more))).key
        for more in ({}, {"prompt": "ink", "seed": 3}, {"steps": 3}, {"engine_streams": 2})
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "/srv/models/mine"},
        {"model": "../mine"},
        {"model": "mine.safetensors"},
        {"lora": ["./styles/ink:0.5"]},
        {"lora": ["user/../../ink:0.5"]},
        {"vae": "C:\\models\\vae"},
        {"embedding": ["~/words.pt:ink"]},
        {"region_mask": "/etc/passwd"},
        {"controlnet": ["random:depth"], "control": ["depth:camera:1"]},
        {"ip_adapter": "h94/IP-Adapter/models/ip.safetensors", "image_prompt": ["/a.png"]},
    ],
)
def test_a_file_is_refused_before_it_is_sent(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot go to a cluster"):
        request_text(asked(**settings))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "/srv/models/mine"}, "cannot go to a cluster"),
        ({"model": "nano", "engine_dir": "/tmp"}, 'takes no setting "engine_dir"'),
        ({"model": "nano", "engine_store": "s3://bad"}, 'takes no setting "engine_store"'),
        ({"model": "nano", "sink": "recorder:/etc/x"}, 'takes no setting "sink"'),
        ({"model": "nano", "acceleration": "their-plugin"}, "plugins stay"),
        ({"model": "nano", "width": 1 << 40}, "width"),
        ({"model": {"a": 1}}, "model"),
    ],
)
def test_the_cluster_checks_all_that_comes(settings: dict[str, Any], why: str) -> None:
    content = json.loads(request_text(asked(model="nano"))) | {"settings": settings}
    with pytest.raises(ConfigError, match=why):
        parse_request(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "0.0.0"}, "install the same version"),
        ({"gpus": -1}, "takes up to 16 GPUs"),
        ({"cpus": 1e9}, "takes up to 16 GPUs"),
        ({"cpus": 0}, "takes up to 16 GPUs"),
        ({"cpus": float("nan")}, "takes up to 16 GPUs"),
        ({"cpus": "many"}, "makes no sense"),
        ({"streams": 99}, "shared by 1 to 16"),
        ({"settings": 3}, "makes no sense"),
    ],
)
def test_a_request_of_another_form_is_refused_in_one_line(change: dict[str, Any], why: str) -> None:
    content = json.loads(request_text(asked(model="nano"))) | change
    with pytest.raises(ConfigError, match=why):
        parse_request(json.dumps(content))


@pytest.mark.parametrize(
    "engines",
    [
        "none",
        [3],
        [{"engine": "10.0.0.1:9", "token": "../../x", "node": "ab"}],
        [{"engine": "10.0.0.1:9", "token": "long-enough", "node": "a b"}],
        [{"engine": "10.0.0.1:9", "token": "long-enough", "node": "ab"}] * 9,
        [{"engine": "/run/x", "token": "long-enough", "node": "ab"}],
    ],
)
def test_standbys_that_are_none_are_refused(engines: Any) -> None:
    with pytest.raises((WireError, ValueError)):
        parse_places(engines)
