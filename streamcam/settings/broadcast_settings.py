"""How a broadcast is set up: what comes in, where it goes, who may steer it. Fixed at start."""

import re
from fractions import Fraction
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from streamcam.settings.base import Settings, from_json
from streamcam.settings.parameters import FLAG

Size = tuple[int, int]


def size(value: Any) -> Any:
    """Read ``1280x720`` as (width, height)."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,5})\s*[x×,]\s*(\d{1,5})\s*", value)
        if not match:
            raise ValueError("must be WIDTHxHEIGHT, such as 1280x720")
        return tuple(map(int, match.groups()))
    return value


def _several(value: Any) -> Any:
    value = from_json(value)
    return (value,) if isinstance(value, str) else value


Side = Annotated[int, Field(ge=16, le=8192)]
Words = Annotated[tuple[str, ...], BeforeValidator(_several)]


class BroadcastSettings(Settings):
    """The settings of ``streamcam run`` beside the model's."""

    source: str = Field(
        default="auto",
        description="camera[:NAME|PATH|INDEX], demo, pattern, a file or a URL."
        " auto: the first camera, else the demo.",
        json_schema_extra=FLAG,
    )
    sink: Words = Field(
        default=("auto",),
        min_length=1,
        max_length=16,
        description="virtual-camera[:LABEL], preview, recorder:FILE or null; may be given several"
        " times. auto: the virtual camera, else the preview.",
        json_schema_extra=FLAG,
    )
    canvas: Annotated[tuple[Side, Side], BeforeValidator(size)] = Field(
        default=(1280, 720),
        description="Size of what goes out, as WIDTHxHEIGHT.",
        json_schema_extra=FLAG,
    )
    fps: float = Field(
        default=30.0,
        ge=1,
        le=240,
        description="Pictures per second that go out.",
        json_schema_extra=FLAG,
    )
    canvas_fit: Literal["fill", "fit", "stretch"] = Field(
        default="fit", description="How a picture of another aspect ratio meets the canvas."
    )
    pixel_format: Literal["yuyv", "uyvy", "i420", "nv12", "rgb"] = Field(
        default="yuyv", description="Pixel format of the virtual camera."
    )
    camera_size: Annotated[tuple[Side, Side], BeforeValidator(size)] = Field(
        default=(1280, 720), description="Size to ask the camera for; it may give another."
    )
    camera_fps: float = Field(
        default=30.0, ge=1, le=1000, description="Pictures per second to ask the camera for."
    )
    loop: bool = Field(default=True, description="Begin a file anew when it has ended.")
    on_engine_loss: Literal["camera", "hold", "slate"] = Field(
        default="camera",
        description="What goes out while there is no engine: the camera, the last picture or a"
        " slate.",
        json_schema_extra=FLAG,
    )
    engine_deadline: float = Field(
        default=5.0,
        ge=0.5,
        le=600,
        description="Seconds without a sign of life after which the engine is replaced."
        " A model whose frames take longer is given five times its frame.",
    )
    preview_bind: str = Field(default="127.0.0.1", description="Address of the preview page.")
    preview_port: int = Field(
        default=8090,
        ge=0,
        le=65535,
        description="Port of the preview page; 0 takes a free one.",
        json_schema_extra=FLAG,
    )
    osc: bool = Field(default=True, description="Listen to OSC.")
    osc_bind: str = Field(
        default="127.0.0.1",
        description="Address that OSC is received on; 0.0.0.0 opens it to the network.",
        json_schema_extra=FLAG,
    )
    osc_port: int = Field(
        default=9000,
        ge=0,
        le=65535,
        description="UDP port for OSC; 0 takes a free one.",
        json_schema_extra=FLAG,
    )
    osc_prefix: str = Field(
        default="/streamcam",
        pattern=r"^(/[A-Za-z0-9_.-]+)*$",
        description="What every OSC address begins with.",
    )
    osc_allow: Words = Field(
        default=("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        description="Networks that OSC is taken from.",
    )
    osc_rate: float = Field(
        default=1000.0, ge=1, le=100_000, description="OSC messages per second taken from one host."
    )
    osc_alias: Annotated[dict[str, str], BeforeValidator(from_json)] = Field(
        default_factory=dict,
        description="Further OSC addresses and the ones they stand for, such as"
        ' {"/layer1/opacity" = "/mix/norm"}.',
    )
    snapshots: str = Field(default=".", description="Folder that snapshots are written to.")

    @field_validator("canvas")
    @classmethod
    def _even(cls, canvas: Size) -> Size:
        if canvas[0] % 2 or canvas[1] % 2:
            raise ValueError("both sides must be even")
        return canvas

    @field_validator("osc_allow")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network, strict=False)
        return networks

    @property
    def rate(self) -> Fraction:
        """Pictures per second that go out, exactly: 29.97 means 30000/1001."""
        ntsc = Fraction(round(self.fps * 1.001) * 1000, 1001)
        near = abs(float(ntsc) - self.fps) < 0.005
        return ntsc if near else Fraction(self.fps).limit_denominator(1000)
