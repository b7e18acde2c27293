"""Record that a start leaves for the next one: its engines by their keys, and encoded texts.

It is a file in the store of engines, which says what it depends on. One that is damaged, or of
other files, is as good as none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from streamcam.diffusion.attention import Projection
from streamcam.diffusion.schedule import Sampling
from streamcam.diffusion.stages import Text
from streamcam.engines.dtypes import dtype_of, name_of
from streamcam.engines.flat_stage import Signature
from streamcam.system.private_file import read_private, replace_private

MAX_FILE_BYTES = 64 * 1024**2
MAX_TEXT_BYTES = 32 * 1024**2
HEADER = "record"


class StageEngines(BaseModel):
    """The engines for one kind of call of a stage, in the order in which they are tried."""

    stage: str
    signature: list[tuple[list[int], str] | None]
    """Shape and dtype of each tensor of the call, None where there is none."""
    tried: list[tuple[int, str]]
    """Number of each engine to try, among those that the settings choose, and key of its files."""


class _Header(BaseModel):
    identity: str
    latent_shape: tuple[int, int, int]
    encode_uses_noise: bool
    sampling: Sampling
    memory_values: int
    engines: list[StageEngines]
    texts: list[str]
    dropped_tokens: list[int]
    understood_as: list[str]
    chunks: list[int]
    remarks: list[str]


@dataclass(slots=True)
class StartRecord:
    """All that a stream needs to run on its engines without the model itself."""

    identity: str
    """Of the files of the model and of the code that ran it."""
    latent_shape: tuple[int, int, int]
    encode_uses_noise: bool
    sampling: Sampling
    alphas_cumprod: Tensor
    time_ids: Tensor | None
    memory_values: int
    """Of past frames, in each row of a call."""
    engines: list[StageEngines]
    projections: list[Projection]
    """Of prompt embeddings to the keys and values of every cross-attention."""
    texts: dict[str, Text] = field(default_factory=dict)
    """The newest last."""

    def write(self, file: Path) -> None:
        """Write the record, with as many of the newest texts as there is room for.

        Raises:
            OSError: it cannot be written.
        """
        texts = _newest(list(self.texts.items()))
        header = _Header(
            identity=self.identity,
            latent_shape=self.latent_shape,
            encode_uses_noise=self.encode_uses_noise,
            sampling=self.sampling,
            memory_values=self.memory_values,
            engines=self.engines,
            texts=[name for name, _ in texts],
            dropped_tokens=[text.dropped_tokens for _, text in texts],
            understood_as=[text.understood_as for _, text in texts],
            chunks=[text.chunks for _, text in texts],
            remarks=[text.remarks for _, text in texts],
        )
        tensors = {"alphas_cumprod": self.alphas_cumprod}
        if self.time_ids is not None:
            tensors["time_ids"] = self.time_ids
        for i, (_, text) in enumerate(texts):
            tensors[f"embeds.{i}"] = text.prompt_embeds
            if text.pooled_prompt_embeds is not None:
                tensors[f"pooled.{i}"] = text.pooled_prompt_embeds
        for i, (weight, bias) in enumerate(self.projections):
            tensors[f"weight.{i}"] = weight
            if bias is not None:
                tensors[f"bias.{i}"] = bias
        # Copies: safetensors refuses tensors that share memory.
        plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        replace_private(file, save(plain, {HEADER: header.model_dump_json()}))


def read_record(file: Path, device: torch.device) -> StartRecord | None:
    """Return the record in `file`, its tensors on `device`; None where there is none to use."""
    try:
        content = read_private(file, MAX_FILE_BYTES)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        header = _Header.model_validate_json(metadata[HEADER])
        tensors = {name: tensor.to(device) for name, tensor in load(content).items()}
        texts = {
            name: Text(
                tensors[f"embeds.{i}"],
                tensors.get(f"pooled.{i}"),
                header.dropped_tokens[i],
                header.understood_as[i],
                header.chunks[i],
                header.remarks[i],
            )
            for i, name in enumerate(header.texts)
        }
        count = sum(name.startswith("weight.") for name in tensors)
        return StartRecord(
            header.identity,
            header.latent_shape,
            header.encode_uses_noise,
            header.sampling,
            tensors["alphas_cumprod"],
            tensors.get("time_ids"),
            header.memory_values,
            header.engines,
            [Projection(tensors[f"weight.{i}"], tensors.get(f"bias.{i}")) for i in range(count)],
            texts,
        )
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, ValidationError):
        return None


def plain_signature(signature: Signature) -> list[tuple[list[int], str] | None]:
    """Return the signature of a call as a record holds it."""
    return [leaf and (list(leaf[0]), name_of(leaf[1])) for leaf in signature]


def signature_of(plain: Sequence[tuple[list[int], str] | None]) -> Signature:
    """Return the signature that `plain_signature` was made of."""
    return tuple(leaf and (torch.Size(leaf[0]), dtype_of(leaf[1])) for leaf in plain)


def _newest(texts: list[tuple[str, Text]]) -> list[tuple[str, Text]]:
    kept: list[tuple[str, Text]] = []
    room = MAX_TEXT_BYTES
    for name, text in reversed(texts):
        room -= sum(part.nbytes for part in text if isinstance(part, Tensor))
        if room < 0:
            break
        kept.insert(0, (name, text))
    return kept
