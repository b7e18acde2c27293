"""The settings of a model: where it comes from, and what is added to it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from streamcam.settings.aliases import model_id
from streamcam.settings.base import Settings, Traits, as_table, from_json
from streamcam.settings.control_inputs import parse_controls

AUTO = "auto"
MAX_PROMPT_CHUNKS = 8
WORD = re.compile(r"[\w<>-]+")
"""Matches the word of an embedding."""
MAX_IMAGE_PROMPTS = 16


def _parse_scaled(value: Any) -> Any:
    value = from_json(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
        return as_table(map(_parse_scale, items))
    return value


def _parse_scale(item: str) -> tuple[str, float]:
    path, colon, scale = item.rpartition(":")
    try:
        return (path, float(scale)) if colon else (item, 1.0)
    except ValueError:
        return item, 1.0


def _parse_embeddings(value: Any) -> Any:
    value = from_json(value)
    items = [value] if isinstance(value, str) else value
    if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
        return as_table(map(_parse_embedding, items))
    return value


def _parse_embedding(item: str) -> tuple[str, str]:
    path, colon, word = item.rpartition(":")
    # The colon of a drive is none before a word.
    return (path, word) if colon and WORD.fullmatch(word) else (item, "")


def _embedding_words(embeddings: dict[str, str]) -> dict[str, str]:
    for word in embeddings.values():
        if word and not WORD.fullmatch(word):
            raise ValueError(f'"{word}" is no word: it has letters, digits and <>-_ alone')
    return embeddings


class ModelSettings(Settings):
    """Settings of the model: its files, and what is added to it."""

    pipeline: Annotated[Literal["image", "video"], Traits(flag=True)] = Field(
        default="image",
        description="Diffuse each frame on its own (image), or as part of a steady video (video).",
    )
    model: Annotated[str, AfterValidator(model_id), Traits(flag=True)] = Field(
        default=AUTO,
        validation_alias=AliasChoices("model", "model_id_or_path"),
        description="Hub id, folder in diffusers layout, .safetensors file, random:NAME, or nano,"
        " which comes with streamcam; sd-turbo, sdxl-turbo and sd15 for short."
        " auto: SD-Turbo if it is in the cache and there is a GPU, else"
        " nano.",
    )
    single_file_config: str | None = Field(
        default=None,
        description="Folder or hub id whose config files describe a single-file model."
        " Default: the family that the file's tensors belong to, from the hub.",
    )
    unet: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        description="U-Net that replaces the model's own: a .safetensors file, or a file on the"
        " hub as USER/REPO/FILE, as few-step models are published.",
    )
    vae: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        validation_alias=AliasChoices("vae", "vae_id"),
        description='Autoencoder: hub id or folder, "full" for the model\'s own.'
        " Default: TAESD or TAESDXL.",
    )
    use_tiny_vae: bool = Field(
        default=True, description="Use the tiny autoencoder if vae is not set."
    )
    lora: Annotated[
        dict[str, float], BeforeValidator(_parse_scaled), Traits(flag=True, repeatable=True)
    ] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("lora", "lora_dict"),
        description="LoRA as PATH_OR_ID[:SCALE]; may be given several times.",
    )
    live_loras: bool = Field(
        default=True,
        description="Keep the scale of each LoRA live, at some time per frame; false fuses LoRAs"
        " into the weights, at the scales given at start, as pipeline=video always does.",
    )
    ip_adapter: Annotated[str | None, Traits(flag=True)] = Field(
        default=None,
        description="IP-Adapter, which makes image prompts work: a .safetensors file, or one on the"
        " hub as USER/REPO/FOLDER/FILE.safetensors.",
    )
    image_encoder: str | None = Field(
        default=None,
        description="Image encoder of the IP-Adapter: a folder, or one on the hub as"
        " USER/REPO/FOLDER. Default: the one next to the adapter that fits it.",
    )
    image_prompt: Annotated[
        dict[str, float],
        BeforeValidator(_parse_scaled),
        Field(max_length=MAX_IMAGE_PROMPTS),
        Traits(flag=True, repeatable=True),
    ] = Field(
        default_factory=dict,
        description="Image that the output should look like, as FILE[:SCALE]; may be given several"
        " times. camera[:SCALE] is the frame that image_prompt_grab takes, and is always there"
        " with an ip_adapter.",
    )
    use_lcm_lora: bool | None = Field(
        default=None,
        description="Fuse the LCM-LoRA. Default: only where neither the model nor a LoRA is made"
        " for few steps already.",
    )
    lcm_lora_id: str | None = Field(
        default=None,
        description="LCM-LoRA to fuse, or another LoRA for few steps, besides those of lora."
        " Default: the LCM-LoRA made for the model's family.",
    )
    embedding: Annotated[
        dict[str, str],
        BeforeValidator(_parse_embeddings),
        AfterValidator(_embedding_words),
        Traits(flag=True, repeatable=True),
    ] = Field(
        default_factory=dict,
        description="Textual-inversion embedding as PATH_OR_ID[:WORD], the word that prompts call"
        " it by; may be given several times. Default: the word in the file, else the file's name.",
    )
    prompt_syntax: Annotated[Literal["plain", "weighted"], Traits(flag=True)] = Field(
        default="plain",
        description="How prompts are read: as plain words, or with weights such as (word:1.3) and"
        " [word], and BREAK.",
    )
    prompt_chunks: int = Field(
        default=1,
        ge=1,
        le=MAX_PROMPT_CHUNKS,
        description="Chunks of tokens that a prompt is read in, 75 in each for Stable Diffusion.",
    )
    controlnet: Annotated[
        dict[str, float], BeforeValidator(_parse_scaled), Traits(flag=True, repeatable=True)
    ] = Field(
        default_factory=dict,
        description="ControlNet or T2I-Adapter as PATH_OR_ID[:SCALE]; may be given several times.",
    )
    control: Annotated[
        dict[str, str], BeforeValidator(parse_controls), Traits(flag=True, repeatable=True)
    ] = Field(
        default_factory=dict,
        description="What a ControlNet is shown, as NAME:INPUT: edges, depth, pose,"
        " segmentation, softedge, lineart or scribble of the camera image, that image itself"
        " (image), or a second source such as a file or camera:NAME. Default: what its name says.",
    )
    control_type: Annotated[dict[str, str], BeforeValidator(parse_controls)] = Field(
        default_factory=dict,
        description="What the images that a union ControlNet is shown are, as NAME:TYPE: an input"
        " of control, or normal. Default: what draws them; for images of a second source there is"
        " none.",
    )
    depth_model: str = Field(
        default="depth-anything/Depth-Anything-V2-Small-hf",
        description="Hub id or folder of the model that estimates depth for a ControlNet.",
    )
    pose_model: str = Field(
        default="usyd-community/vitpose-plus-small",
        description="Hub id or folder of the ViTPose that finds joints for a ControlNet.",
    )
    segmentation_model: str = Field(
        default="openmmlab/upernet-convnext-tiny",
        description="Hub id or folder of the model that finds ADE20K's classes for a ControlNet.",
    )
    prediction_type: Annotated[
        Literal["auto", "epsilon", "v_prediction", "sample"], Traits(model_default=True)
    ] = Field(
        default="auto",
        description="What the U-Net predicts: noise, velocity or the image. auto: what the model's"
        " scheduler config, or the file itself, says.",
    )
    rescale_betas_zero_snr: Annotated[bool | None, Traits(model_default=True)] = Field(
        default=None,
        description="Rescale the noise schedule so that it ends in noise alone (zero terminal"
        " SNR). Default: as the model's scheduler config, or the file itself, says.",
    )
