"""Encode texts by a pipeline's own text encoders: weighted, and in several chunks of tokens.

A weight w moves the embedding z of each of its tokens along the line from the empty prompt's
embedding z_0 at that place: z_0 + w (z - z_0), the rule of ComfyUI and compel. The web UI of
AUTOMATIC1111, whose syntax is read, multiplies z itself and then scales all of it so that its mean
is what it was. That mean may be near zero, where the scale has no bounds, and it changes words that
have no weight.

Brackets and chunks are a few lines each, and no library that is kept up reads that syntax: compel
has its own, and diffusers has it in community examples outside the package.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.diffusion.stages import Text, reading_notice
from streamcam.errors import ModelError
from streamcam.models.families import Report
from streamcam.models.prompt_reader import PromptReader
from streamcam.models.textual_inversion import added_vectors
from streamcam.settings.prompt_syntax import PARSERS, Fragment, ParsedPrompt

MAX_COMMA_DISTANCE = 20
"""Tokens back from the end of a chunk in which a comma is looked for, to break there."""
COMMA = ",</w>"


def encode_text(
    pipe: Any,
    text: str,
    device: torch.device,
    report: Report = print,
    reader: PromptReader | None = None,
    *,
    syntax: str = "plain",
    chunks: int = 1,
) -> Text:
    """Return the embeddings of `text` by the pipeline's own text encoders.

    Args:
        pipe: SD 1.x, SD 2.x or SDXL.
        text: any text.
        device: of the embeddings.
        report: takes a line on what is not read of it.
        reader: says which looks the model takes from it, unless it names them.
        syntax: a key of `PARSERS`.
        chunks: how many chunks of tokens the embeddings have, ``(1, chunks * 77, D)``.

    Raises:
        ModelError: they are not finite.
    """
    parsed = PARSERS[syntax](text)
    words = parsed.text
    tokenizers = _tokenizers(pipe)
    if syntax == "plain" and chunks == 1 and not any(map(added_vectors, tokenizers)):
        encoded = _encoded_by_pipeline(pipe, text, device)
    else:
        encoded = _encoded_in_chunks(pipe, parsed, device, chunks)
    remarks = "; ".join(filter(None, [*parsed.remarks, encoded.remarks]))
    understood = reader.surprising(words, encoded.prompt_embeds) if reader and words.strip() else ""
    encoded = encoded._replace(remarks=remarks, understood_as=understood)
    for embeds in (encoded.prompt_embeds, encoded.pooled_prompt_embeds):
        if embeds is not None and not torch.isfinite(embeds).all():
            raise ModelError("its embeddings are not finite (NaN or infinity); try --dtype float32")
    if notice := reading_notice(text, encoded):
        report(notice)
    return encoded


def _encoded_by_pipeline(pipe: Any, text: str, device: torch.device) -> Text:
    prompt_embeds, *rest = pipe.encode_prompt(
        prompt=text, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    # SDXL pipelines return (prompt, negative, pooled, negative pooled) embeddings.
    pooled = rest[1] if len(rest) > 1 else None
    return Text(prompt_embeds, pooled, _dropped_tokens(pipe, text))


def _dropped_tokens(pipe: Any, text: str) -> int:
    """Return how many tokens of `text` its encoders have no room for."""
    dropped: Iterator[int] = (
        len(tokenizer(text, truncation=False).input_ids) - tokenizer.model_max_length
        for tokenizer in _tokenizers(pipe)
    )
    return max(0, *dropped)


def _tokenizers(pipe: Any) -> list[Any]:
    named = (getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2"))
    return [tokenizer for tokenizer in named if tokenizer is not None]


def text_encoders(pipe: Any) -> list[Any]:
    """Return the pipeline's text encoders: two for SDXL."""
    names = ("text_encoder", "text_encoder_2")
    return [encoder for name in names if (encoder := getattr(pipe, name, None)) is not None]


# ---- chunks


class Unit(NamedTuple):
    """Tokens that stay together: of a word's part, or of an embedding of several vectors."""

    ids: tuple[int, ...]
    weight: float = 1.0
    breaks: bool = False
    """Whether it begins a new chunk."""


class Chunks(NamedTuple):
    """The units of a text by chunk."""

    units: list[list[Unit]]
    dropped: int = 0
    """Tokens at the end that no chunk has room for."""
    ignored_breaks: int = 0


def split_into_chunks(units: Sequence[Unit], size: int, limit: int, comma: int | None) -> Chunks:
    """Fill at most `limit` chunks of at most `size` tokens, at least one.

    A chunk that is full ends at its last comma, if that is near; the last one takes what it can.
    """
    chunks: list[list[Unit]] = [[]]
    length = ignored = 0
    for index, unit in enumerate(units):
        is_last = len(chunks) == limit
        if unit.breaks and chunks[-1]:
            ignored += is_last
            if not is_last:
                chunks.append([])
                length = 0
        elif length + len(unit.ids) > size and not is_last:
            chunks.append(_cut_at_comma(chunks[-1], comma))
            length = _length(chunks[-1])
        if length + len(unit.ids) > size and len(chunks) == limit:
            return Chunks(chunks, _length(units[index:]), ignored)
        chunks[-1].append(unit)
        length += len(unit.ids)
    return Chunks(chunks, 0, ignored)


def _cut_at_comma(chunk: list[Unit], comma: int | None) -> list[Unit]:
    """Take the units after the last comma of a full chunk from it, and return them."""
    tail: list[Unit] = []
    for index in reversed(range(len(chunk))):
        if chunk[index].ids == (comma,):
            del chunk[index + 1 :]
            return tail[::-1]
        tail.append(chunk[index])
        if _length(tail) > MAX_COMMA_DISTANCE:
            break
    return []


def _length(units: Sequence[Unit]) -> int:
    return sum(len(unit.ids) for unit in units)


def _units(tokenizer: Any, fragments: Sequence[Fragment], size: int) -> Iterator[Unit]:
    vectors = added_vectors(tokenizer)
    breaks = False
    for fragment in fragments:
        breaks = breaks or fragment.breaks
        for token in tokenizer(fragment.text, add_special_tokens=False, truncation=False).input_ids:
            ids = vectors.get(token, (token,))
            for part in (ids,) if len(ids) <= size else ((single,) for single in ids):
                yield Unit(part, fragment.weight, breaks)
                breaks = False


def _encoded_in_chunks(pipe: Any, parsed: ParsedPrompt, device: torch.device, count: int) -> Text:
    tokenizers, encoders = _tokenizers(pipe), text_encoders(pipe)
    split = []
    for tokenizer in tokenizers:
        size = tokenizer.model_max_length - 2
        comma = tokenizer.get_vocab().get(COMMA)
        units = list(_units(tokenizer, parsed.fragments, size))
        split.append(split_into_chunks(units, size, count, comma))
    used = max(len(chunks.units) for chunks in split)
    embeds, pooled = [], None
    for tokenizer, encoder, chunks in zip(tokenizers, encoders, split, strict=True):
        filled = chunks.units + [[]] * (used - len(chunks.units))
        hidden, pooled = _hidden(encoder, tokenizer, filled, count, is_one_of_two=len(encoders) > 1)
        embeds.append(hidden.flatten(0, 1).unsqueeze(0))
    remarks = ""
    if any(chunks.ignored_breaks for chunks in split):
        remarks = f"BREAK begins no new chunk, as prompt_chunks is {count}"
    return Text(
        torch.cat(embeds, -1).to(device=device, dtype=encoders[-1].dtype),
        None if pooled is None else pooled.to(device),
        max(chunks.dropped for chunks in split),
        chunks=count,
        remarks=remarks,
    )


def _hidden(
    encoder: Any, tokenizer: Any, chunks: list[list[Unit]], count: int, *, is_one_of_two: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the weighted embeddings of `count` chunks ``(count, 77, D)``, and the pooled one.

    Fewer chunks are repeated, which leaves attention as it is; where they cannot be, by an even
    number of times, empty ones follow. Pooled is the first chunk, without its weights.
    """
    ids = torch.tensor([_ids(tokenizer, chunk) for chunk in [*chunks, []]], device=encoder.device)
    outputs = encoder(ids, output_hidden_states=is_one_of_two)
    hidden = outputs.hidden_states[-2] if is_one_of_two else outputs[0]
    hidden, empty = hidden[:-1], hidden[-1:]
    weights = torch.ones(hidden.shape[:2], device=hidden.device, dtype=hidden.dtype)
    for row, chunk in zip(weights, chunks, strict=True):
        flat = [unit.weight for unit in chunk for _ in unit.ids]
        row[1 : 1 + len(flat)] = torch.tensor(flat, dtype=row.dtype, device=row.device)
    weights = weights.unsqueeze(-1)
    weighted = torch.where(weights == 1, hidden, torch.lerp(empty, hidden, weights))
    repeats, rest = divmod(count, len(chunks))
    if rest:
        weighted = torch.cat([weighted, empty.expand(count - len(chunks), -1, -1)])
    else:
        weighted = weighted.repeat(repeats, 1, 1)
    is_pooled = is_one_of_two and outputs[0].ndim == 2
    return weighted, outputs[0][:1] if is_pooled else None


def _ids(tokenizer: Any, chunk: list[Unit]) -> list[int]:
    ids = [token for unit in chunk for token in unit.ids]
    ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    return ids + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))
