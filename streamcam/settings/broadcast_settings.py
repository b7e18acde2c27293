"""Settings of a broadcast: source, outputs, preview and OSC. All fixed at start."""

import re
from fractions import Fraction
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, field_validator

from streamcam.settings.aliases import sink_specs, source_spec
from streamcam.settings.base import Settings, Traits, from_json
from streamcam.settings.faders import Span, parse_faders
from streamcam.system.network import parse_endpoint

Size = tuple[int, int]
RAY = "ray://"
"""Begins the address of a cluster."""


def parse_size(value: Any) -> Any:
    """Read ``1280x720`` as (width, height)."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,5})\s*[x×,]\s*(\d{1,5})\s*", value)
        if not match:
            raise ValueError("must be WIDTHxHEIGHT, such as 1280x720")
        return tuple(map(int, match.groups()))
    return value


def _parse_list(value: Any) -> Any:
    value = from_json(value)
    return (value,) if isinstance(value, str) else value


def _check_token(token: str | None) -> str | None:
    if token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,128}", token):
        raise ValueError("takes 8 to 128 letters, digits, dots, hyphens, underscores and tildes")
    return token


def _checked_endpoint(text: str | None) -> str | None:
    if text is not None:
        parse_endpoint(text, default_port=0)
    return text


def _checked_engine(text: str | None) -> str | None:
    if text is not None:
        parse_endpoint(text.removeprefix(RAY), default_port=0)
    return text


Side = Annotated[int, Field(ge=16, le=8192)]
Words = Annotated[tuple[str, ...], BeforeValidator(_parse_list)]


class BroadcastSettings(Settings):
    """The settings of ``streamcam run`` that are not the model's."""

    source: Annotated[str, BeforeValidator(source_spec), Traits(flag=True)] = Field(
        default="auto",
        description="camera[:NAME|PATH|INDEX], demo, pattern, a file or a URL; 0 and webcam are"
        " cameras too."
        " auto: the first camera, else the demo.",
    )
    sink: Annotated[Words, AfterValidator(sink_specs), Traits(flag=True, repeatable=True)] = Field(
        default=("auto",),
        min_length=1,
        max_length=16,
        description="virtual-camera[:LABEL] (or v4l2, obs), preview, recorder:FILE or null; may be"
        " given several times. auto: the virtual camera, if there is one, and the preview page.",
    )
    canvas: Annotated[tuple[Side, Side], BeforeValidator(parse_size), Traits(flag=True)] = Field(
        default=(1280, 720),
        description="Size of the output.",
    )
    fps: Annotated[float, Traits(flag=True)] = Field(
        default=30.0,
        ge=1,
        le=240,
        description="Frames per second of the output.",
    )
    canvas_fit: Literal["fill", "fit", "stretch"] = Field(
        default="fit",
        description="How an image of another aspect ratio is fitted to the canvas: crop, add bars,"
        " or distort.",
    )
    pixel_format: Literal["yuyv", "uyvy", "i420", "nv12", "rgb"] = Field(
        default="yuyv", description="Pixel format of the virtual camera."
    )
    camera_size: Annotated[tuple[Side, Side], BeforeValidator(parse_size)] = Field(
        default=(1280, 720), description="Size to ask the camera for; it may give another."
    )
    camera_fps: float = Field(
        default=30.0, ge=1, le=1000, description="Frames per second to ask the camera for."
    )
    loop: bool = Field(default=True, description="Start a file again when it has ended.")
    on_engine_loss: Annotated[Literal["camera", "hold", "slate"], Traits(flag=True)] = Field(
        default="camera",
        description="Output while no engine is running: the camera image, the last output (hold) or"
        " a slate.",
    )
    engine_deadline: float = Field(
        default=5.0,
        ge=0.5,
        le=600,
        description="Seconds without a sign of life after which the engine is replaced."
        " A model whose frames take longer is given five times the time of a frame.",
    )
    engine: Annotated[str | None, AfterValidator(_checked_engine), Traits(flag=True)] = Field(
        default=None,
        description="HOST:PORT of another machine whose engine runs the model, where"
        ' "streamcam serve" was started; or ray://HOST:PORT of a Ray cluster, which finds a place'
        " for the engine (ray://auto: the cluster that this machine belongs to).",
    )
    engine_gpus: float | None = Field(
        default=None,
        ge=0,
        le=16,
        description="GPUs of a Ray cluster that the engine takes, or a fraction of one, such as"
        " 0.25. Default: 1 if the cluster has GPUs, else 0.",
    )
    engine_cpus: float = Field(
        default=1.0, ge=0.05, le=256, description="CPUs of a Ray cluster that the engine takes."
    )
    engine_streams: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Streams of the same settings that may share an engine on a Ray cluster, and"
        " each call of its model.",
    )
    token: Annotated[str | None, AfterValidator(_check_token), Traits(flag=True, secret=True)] = (
        Field(
            default=None,
            description="Token of that engine. Default: that in STREAMCAM_ENGINE_TOKEN.",
        )
    )
    engine_lossless: bool = Field(
        default=False,
        description="Send frames to an engine elsewhere without loss (PNG), on a good LAN; else as"
        " JPEG in full colour resolution.",
    )
    web_bind: Annotated[str, Traits(flag=True)] = Field(
        default="127.0.0.1",
        validation_alias=AliasChoices("web_bind", "preview_bind"),
        description="Address of the preview and control page; 0.0.0.0 opens it to the network, for"
        " whoever has the link with its token.",
    )
    web_token: Annotated[str | None, AfterValidator(_check_token), Traits(secret=True)] = Field(
        default=None,
        description="Token that the page then asks for, on this machine too: 8 characters or more."
        " Default: that in STREAMCAM_WEB_TOKEN, else a new one for each run.",
    )
    preview_port: Annotated[int, Traits(flag=True)] = Field(
        default=8090,
        ge=0,
        le=65535,
        description="Port of the preview page; 0 takes a free one. If none is given and this one is"
        " in use, the next free one is taken.",
    )
    osc: bool = Field(default=True, description="Listen to OSC.")
    osc_bind: Annotated[str, Traits(flag=True)] = Field(
        default="127.0.0.1",
        description="Address that OSC is received on; 0.0.0.0 opens it to the network.",
    )
    osc_port: Annotated[int, Traits(flag=True)] = Field(
        default=9000,
        ge=0,
        le=65535,
        description="UDP port for OSC; 0 takes a free one.",
    )
    osc_prefix: str = Field(
        default="/streamcam",
        pattern=r"^(/[A-Za-z0-9_.-]+)*$",
        description="Beginning of every OSC address.",
    )
    osc_allow: Words = Field(
        default=(
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
            *("::1", "fc00::/7", "fe80::/10"),
        ),
        description="Networks that OSC is accepted from.",
    )
    osc_rate: float = Field(
        default=1000.0,
        ge=1,
        le=100_000,
        description="Most OSC messages per second accepted from one host.",
    )
    osc_alias: Annotated[dict[str, str], BeforeValidator(from_json)] = Field(
        default_factory=dict,
        description="More OSC addresses and the ones they stand for, such as"
        ' {"/layer1/opacity" = "/mix/norm"}.',
    )
    faders: Annotated[
        dict[str, Span], BeforeValidator(parse_faders), Traits(model_default=True)
    ] = Field(
        default_factory=dict,
        description="Ends of faders, or the upper one alone, where the usual ones do not suit a"
        " model, such as { strength = 0.6, guidance_scale = [0, 3] }. Numbers beyond them are still"
        " taken.",
    )
    cue_list: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        description="Cue list to play with /cue/go: a TOML file, or the name of one in"
        " your configuration folder.",
    )
    midi: Annotated[Words, Traits(flag=True, repeatable=True)] = Field(
        default=(),
        max_length=16,
        description="MIDI inputs that control it: a name or a part of one, may be given several"
        " times; auto: all. streamcam devices lists them.",
    )
    oscquery: bool = Field(
        default=True,
        description="Serve the table of OSC addresses by OSCQuery, on the port of the preview page,"
        " where OSC is on.",
    )
    mdns: bool = Field(
        default=True,
        description="Announce OSC and OSCQuery on the local network (mDNS, Bonjour), so that other"
        " programs list streamcam.",
    )
    obs: Annotated[
        str | None, AfterValidator(_checked_endpoint), Traits(flag=True, bare="localhost")
    ] = Field(
        default=None,
        description="Connect to OBS Studio, by its WebSocket server at HOST or HOST:PORT; without"
        " a value, to the OBS on this machine.",
    )
    obs_audio: Words = Field(
        default_factory=tuple,
        description="Audio sources of OBS whose sync offset follows the latency, such as Mic/Aux.",
    )
    obs_audio_extra: float = Field(
        default=0.0,
        ge=-1000,
        le=5000,
        description="Milliseconds to add to that offset, for what OBS and the microphone take.",
    )
    obs_scenes: Annotated[dict[str, str], BeforeValidator(from_json)] = Field(
        default_factory=dict,
        description="Presets, or cues as cue:NAME, to recall with the scenes of OBS, such as"
        ' {"Interview" = "pencil"}. Without one, a scene recalls the preset of its own name.',
    )
    osc_time_tags: bool = Field(
        default=True,
        description="Apply an OSC bundle at the time that it is stamped with, up to 10 seconds"
        " ahead; false: at once, for senders whose clock is wrong.",
    )
    bpm: Annotated[float, Traits(flag=True)] = Field(
        default=120.0, ge=20, le=999, description="Tempo at the start, in beats per minute."
    )
    beats_per_bar: int = Field(default=4, ge=1, le=32, description="Beats in a bar at the start.")
    quantise: Annotated[Literal["off", "beat", "bar", "2 bars", "4 bars"], Traits(flag=True)] = (
        Field(
            default="off",
            description="What prompts, choices, presets, cues and triggers wait for, at the start.",
        )
    )
    link: Annotated[bool, Traits(flag=True)] = Field(
        default=False,
        description='Take the tempo from Ableton Link at the start (extra "link", under the GPL).',
    )
    snapshots: str | None = Field(
        default=None,
        description="Folder that snapshots are written to. Default: streamcam in the user's"
        " pictures folder.",
    )

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
    def cluster(self) -> str | None:
        """Address of the Ray cluster that the engine runs on; None where it does not."""
        return self.engine if self.engine and self.engine.startswith(RAY) else None

    @property
    def rate(self) -> Fraction:
        """Frames per second of the output, exactly: 29.97 means 30000/1001."""
        ntsc = Fraction(round(self.fps * 1.001) * 1000, 1001)
        near = abs(float(ntsc) - self.fps) < 0.005
        return ntsc if near else Fraction(self.fps).limit_denominator(1000)
