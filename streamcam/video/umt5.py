"""UMT5 text encoder of Wan, on the device only while it encodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.engines.device_memory import release_cached_memory
from streamcam.errors import MAX_SHOWN, ModelError
from streamcam.models.families import Report
from streamcam.models.weights import check_no_missing_weights, explain_load_errors, tensor_names

MAX_TOKENS = 512
PARTS = ("tokenizer", "text_encoder")
DTYPE = torch.bfloat16
"""As published: 11 GB."""


class TextEncoder:
    """Encodes texts for the transformer's cross-attention.

    Args:
        folder: in diffusers layout, with ``text_encoder`` and ``tokenizer``.
        device: where it encodes; between calls its weights are on the CPU.
        report: takes a line where a text is too long to be read in whole.

    Raises:
        ModelError: files are missing or damaged.
    """

    def __init__(
        self, folder: Path, device: torch.device, report: Report = lambda _line: None
    ) -> None:
        from transformers import AutoTokenizer, UMT5EncoderModel

        weights = folder / "text_encoder"
        with explain_load_errors(f"the text encoder in {folder}", folder, "fetch the model again"):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder / "tokenizer", local_files_only=True
            )
            self._model: Any = UMT5EncoderModel.from_pretrained(
                weights, dtype=DTYPE, use_safetensors=True, local_files_only=True
            )
        stored = tensor_names(weights)
        tied = {"encoder.embed_tokens.weight"} if "shared.weight" in stored else set()
        check_no_missing_weights(self._model, stored | tied, f"the text encoder in {folder}")
        self._model.eval().requires_grad_(False)
        self._device = device
        self._report = report

    @torch.inference_mode()
    def __call__(self, text: str) -> Tensor:
        """Return ``(1, 512, text_dim)`` float32 on the device, zero past the text.

        Called on another thread, it runs on a GPU at the same time as other work.

        Raises:
            ModelError: the embeddings are not finite.
        """
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        text = prompt_clean(text)
        if (dropped := len(self._tokenizer(text).input_ids) - MAX_TOKENS) > 0:
            self._report(
                f"the last {dropped} tokens of the prompt are not read, as this model reads"
                f' {MAX_TOKENS}: "…{text[-MAX_SHOWN // 2 :]}"'
            )
        tokens = self._tokenizer(
            text,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        with self._on_device():
            tokens = tokens.to(self._device)
            states = self._model(tokens.input_ids, tokens.attention_mask).last_hidden_state
            embeds: Tensor = states.float() * tokens.attention_mask[..., None]
        if not torch.isfinite(embeds).all():
            raise ModelError("its embeddings are not finite (NaN or infinity)")
        return embeds

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Move the weights to the device for the body, in a CUDA stream of their own."""
        if self._device.type != "cuda":
            yield
            return
        cpu_data = [parameter.data for parameter in self._model.parameters()]
        stream: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.stream(stream):
                self._model.to(self._device)
                yield
            stream.synchronize()
        finally:
            for parameter, data in zip(self._model.parameters(), cpu_data, strict=True):
                parameter.data = data
            release_cached_memory(self._device)
