"""Files of an IP-Adapter and of its image encoder, found and compared without reading weights."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from streamcam.embedded_model import embedded
from streamcam.errors import ModelError, one_line
from streamcam.models import hub, model_names
from streamcam.models.file_headers import header_of, read_json
from streamcam.settings.config import CAMERA, Config
from streamcam.types import Image

EXAMPLE = "h94/IP-Adapter/models/ip-adapter_sd15.safetensors"
ENCODER_FOLDERS = ("image_encoder", "../models/image_encoder", "../sdxl_models/image_encoder")
"""Folders of image encoders, seen from the adapter's, as the published adapters have them."""
ENCODER_FILES = ("config.json", "*.safetensors")
PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
KEYS = ".to_k_ip.weight"
READS_FACES = (
    "IP-Adapter {} reads faces by another network (FaceID, InstantID), which streamcam does not"
    " run; choose a plus-face or full-face one"
)
FACES = re.compile(r"face-?id|instant-?id", re.IGNORECASE)
FACE_WIDTH = 512
"""Of what networks for faces give; no image encoder of an IP-Adapter is so narrow."""
REPO_PARTS = 2
"""Parts of a hub id."""

Kind = Literal["plain", "plus", "full-face"]


class AdapterShape(NamedTuple):
    """Shapes of an IP-Adapter."""

    kind: Kind
    encoder_width: int
    """Of what it reads: the image's embedding (plain), or the encoder's hidden states."""
    text_width: int
    """Of the tokens that it gives to the cross-attentions."""
    layers: tuple[int, ...]
    """Width of each cross-attention, in the file's order."""

    @property
    def base(self) -> str:
        """The models that it is for, in words."""
        return f"texts {self.text_width} wide (SD 1.x has 768, SDXL 2048)"


class AdapterFiles(NamedTuple):
    """Paths of an IP-Adapter and of its image encoder."""

    adapter: Path
    encoder: Path
    """A folder."""
    shape: AdapterShape


def adapter_files(config: Config) -> AdapterFiles:
    """Return the files of the IP-Adapter that `config` names, downloaded if necessary.

    Raises:
        ModelError: one is missing or damaged, or the image encoder does not fit.
    """
    name = config.ip_adapter or ""
    if embedded(config.model) is not None:
        raise ModelError(
            f"{config.model} takes no image prompts: its text encoder and layers are its own;"
            " leave --ip-adapter away, or choose a model of SD 1.5 or SDXL, such as --model sd15"
        )
    adapter = _adapter_file(name, offline=config.offline)
    shape = adapter_shape(adapter)
    if config.image_encoder:
        encoder = _named_encoder(config.image_encoder, offline=config.offline)
        _check_encoder(encoder, shape, name)
    else:
        encoder = _nearest_encoder(name, shape, offline=config.offline)
    return AdapterFiles(adapter, encoder, shape)


def check_image_prompts(config: Config) -> None:
    """Raise at once for image prompts that surely cannot run; what is on the hub is not asked for.

    Raises:
        ModelError: the adapter or its image encoder is missing, damaged, or for another base model.
        MediaError: an image is missing, damaged or too large.
    """
    name = config.ip_adapter
    if name is None:
        return
    on_hub = any(part and _local(part) is None for part in (name, config.image_encoder))
    if config.offline or not on_hub or embedded(config.model) is not None:
        shape = adapter_files(config).shape
        unet = Path(config.model).expanduser() / "unet" / "config.json"
        width = read_json(unet).get("cross_attention_dim") if unet.is_file() else None
        if width and width != shape.text_width:
            raise ModelError(
                f"IP-Adapter {name} is for {shape.base}, {config.model} is for texts {width} wide;"
                " choose an adapter made for it"
            )
    else:
        _on_hub(name, "IP-Adapter", EXAMPLE)
    for file in config.image_prompt:
        if file != CAMERA:
            read_image(file)


def read_image(file: str) -> Image:
    """Return the image in `file`, ``(H, W, 3)`` uint8 sRGB; of an animation the first.

    Raises:
        MediaError: it is missing, damaged or too large.
    """
    # Its libraries are not needed where there are no image prompts.
    from streamcam.sources.image_reader import read

    return read(Path(file).expanduser())


def adapter_shape(file: Path) -> AdapterShape:
    """Return the shapes of the IP-Adapter in `file`.

    Raises:
        ModelError: it is damaged, of a kind that cannot run, or no IP-Adapter.
    """
    try:
        header = header_of(file)
        return _shape(file, {name: tuple(entry["shape"]) for name, entry in header.items()})
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ModelError(
            f"IP-Adapter {file} is damaged or cut off: {one_line(error)}; get it again"
        ) from None


def _shape(file: Path, shapes: dict[str, tuple[int, ...]]) -> AdapterShape:
    keys = [name for name in shapes if name.startswith(ATTENTION) and name.endswith(KEYS)]
    numbers = sorted(int(name.removeprefix(ATTENTION).removesuffix(KEYS)) for name in keys)
    of = {name.removeprefix(PROJECTION): s for name, s in shapes.items() if PROJECTION in name}
    if not numbers or not of:
        raise ModelError(
            f"{file} is no IP-Adapter: it has no {PROJECTION}* and {ATTENTION}* tensors; choose"
            f" one such as {EXAMPLE}"
        )
    kind: Kind
    if "proj.weight" in of:
        kind, width, text = "plain", of["proj.weight"][1], of["norm.weight"][0]
    elif "proj.3.weight" in of:
        kind, width, text = "full-face", of["proj.0.weight"][1], of["proj.3.weight"][0]
    elif "latents" in of:
        kind, width, text = "plus", of["proj_in.weight"][1], of["proj_out.weight"][0]
    else:
        raise ModelError(READS_FACES.format(file))
    if width == FACE_WIDTH:
        raise ModelError(READS_FACES.format(file))
    layers = tuple(shapes[f"{ATTENTION}{number}{KEYS}"][0] for number in numbers)
    return AdapterShape(kind, width, text, layers)


def _adapter_file(name: str, *, offline: bool) -> Path:
    """Return the file of an adapter: a path, or ``USER/REPO/FOLDER/FILE.safetensors``."""
    if (path := _local(name)) is not None:
        if path.is_dir():
            raise ModelError(f"{path} is a folder; name the IP-Adapter in it: {_listed(path)}")
        return path
    repo, inside = _on_hub(name, "IP-Adapter", EXAMPLE)
    if not inside.endswith(".safetensors"):
        raise ModelError(f"no IP-Adapter {name}; name its file, such as {EXAMPLE}")
    return hub.repo_file(repo, inside, offline=offline)


def _named_encoder(name: str, *, offline: bool) -> Path:
    if (path := _local(name)) is not None:
        return path
    repo, inside = _on_hub(name, "image encoder", "h94/IP-Adapter/models/image_encoder")
    return hub.repo_folder_of(repo, inside, ENCODER_FILES, offline=offline)


def _nearest_encoder(name: str, shape: AdapterShape, *, offline: bool) -> Path:
    """Return the first image encoder near the adapter that fits it."""
    found: list[str] = []
    for candidate in _candidates(name, offline=offline):
        try:
            encoder = read_json(candidate.config_file())
        except (OSError, ValueError, ModelError):
            continue
        if _fits(encoder, shape):
            return candidate.folder()
        found.append(f"{candidate.name} is {_width(encoder, shape)} wide")
    seen = "; ".join(found) or "there is none beside it"
    raise ModelError(
        f"IP-Adapter {name} needs an image encoder {shape.encoder_width} wide: {seen}; put it in"
        " a folder image_encoder beside the adapter, or name it with --set image_encoder=…"
    )


class _Candidate(NamedTuple):
    """A folder that may be an image encoder's."""

    name: str
    config_file: Callable[[], Path]
    """Its settings, downloaded if necessary."""
    folder: Callable[[], Path]
    """The folder itself, with its weights."""


def _candidates(name: str, *, offline: bool) -> Iterator[_Candidate]:
    """Yield the folders that may be the encoder's, the likeliest first."""
    if (path := _local(name)) is not None:
        for relative in ENCODER_FOLDERS:
            folder = path.absolute().parent / relative
            config_file = folder / "config.json"
            yield _Candidate(str(folder), config_file.absolute, folder.resolve)
        return
    repo, inside = _on_hub(name, "IP-Adapter", EXAMPLE)
    above = Path(inside).parent.as_posix()
    nearest = f"{above}/image_encoder".removeprefix("./")
    for each in dict.fromkeys([nearest, "models/image_encoder", "sdxl_models/image_encoder"]):
        yield _Candidate(
            f"{repo}/{each}",
            partial(hub.repo_file, repo, f"{each}/config.json", offline=offline),
            partial(hub.repo_folder_of, repo, each, ENCODER_FILES, offline=offline),
        )


def _check_encoder(folder: Path, shape: AdapterShape, adapter: str) -> None:
    try:
        encoder = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is no image encoder: its config.json cannot be read ({one_line(error)});"
            " name a folder with that and a .safetensors file, such as models/image_encoder of"
            " h94/IP-Adapter"
        ) from None
    if not _fits(encoder, shape):
        raise ModelError(
            f"image encoder {folder} does not fit the IP-Adapter {adapter}: it is"
            f" {_width(encoder, shape)} wide, where that takes {shape.encoder_width}; leave"
            " image_encoder away, or name the one that the adapter was trained with"
        )


def _fits(encoder: dict[str, Any], shape: AdapterShape) -> bool:
    return bool(_width(encoder, shape) == shape.encoder_width)


def _width(encoder: dict[str, Any], shape: AdapterShape) -> Any:
    """Return the width of what an encoder gives to such an adapter, by its config."""
    # That of a whole CLIP has one for each of its halves.
    vision = encoder.get("vision_config", encoder)
    if shape.kind == "plain":
        return vision.get("projection_dim", encoder.get("projection_dim"))
    return vision.get("hidden_size")


def _local(name: str) -> Path | None:
    """Return `name` as a path if it is one here; raise ModelError for a pickled file."""
    if Path(name).suffix.lower() in model_names.PICKLE_SUFFIXES:
        if FACES.search(name):  # They are published in no other way.
            raise ModelError(READS_FACES.format(name))
        raise ModelError(f"{name} is pickled, which can run code; get it as .safetensors")
    try:
        path = Path(name).expanduser()
        exists = bool(name) and path.exists()
    except (OSError, RuntimeError) as error:
        raise ModelError(f'cannot read "{name[:80]}": {one_line(error)[:80]}') from None
    if not exists:
        return None
    model_names.check_model_files(path)
    return path


def _on_hub(name: str, what: str, example: str) -> tuple[str, str]:
    """Return the repository on the hub, and the path in it, that `name` may mean."""
    parts = name.split("/")
    repo, inside = "/".join(parts[:REPO_PARTS]), "/".join(parts[REPO_PARTS:])
    if not model_names.HUB_ID.fullmatch(repo) or ".." in parts:
        raise ModelError(
            f'no {what} "{name[:120]}": no file or folder here, nor one on the hub, such as'
            f" {example}"
        )
    return repo, inside


def _listed(folder: Path) -> str:
    names: Iterable[str] = sorted(file.name for file in folder.glob("*.safetensors"))
    return ", ".join(names) or "it has no .safetensors file"
