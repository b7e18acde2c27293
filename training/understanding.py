"""Fit the classifiers that say what a prompt is understood as.

``python -m training.understanding`` does it for a model that is trained already.

They are linear, on the pooled prompt that the U-Net itself is given, so they know what it knows.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.embedded_model import NANO, embedded
from streamcam.models.prompt_reader import HEADS, LABELS, PROMPT_READER_FILE
from training import wordings
from training.looks import COLOURS, LOOKS
from training.model import Parts
from training.text import embed

PROMPTS, HELD_OUT = 6000, 600
STEPS, DECAY = 400, 1e-4
SEED = 4


def main() -> None:
    """Fit and write the classifiers of the model of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.understanding", description=__doc__)
    parser.add_argument("--model", type=Path, default=embedded(NANO), help="a model folder")
    options = parser.parse_args()
    print(write_prompt_reader(load_text_parts(options.model), options.model))


def load_text_parts(folder: Path) -> Parts:
    """Return the parts of the model in `folder` that read prompts; the others are None."""
    import diffusers
    import transformers

    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").float().eval()
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    return Parts(unet, None, encoder, tokenizer, None)


def write_prompt_reader(parts: Parts, folder: Path) -> str:
    """Fit classifiers to `parts`, write them to `folder`, and return their held-out accuracy."""
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    pooled, labels = _examples(parts, PROMPTS, held_out=False)
    heads = {name: _fit(pooled, labels[name], len(names)) for name, names in label_names().items()}
    metadata = {LABELS: json.dumps(label_names())}
    halves = {name: head.half().contiguous() for name, head in heads.items()}
    save_file(halves, folder / PROMPT_READER_FILE, metadata=metadata)
    shares = []
    for held_out in (False, True):
        test, wanted = _examples(parts, HELD_OUT, held_out=held_out, stream=1)
        right = _scores(test, heads["look"]).argmax(-1) == wanted["look"]
        shares.append(float(right.float().mean()))
    return f"looks recognised: {shares[0]:.1%} of prompts, {shares[1]:.1%} with unseen words"


def label_names() -> dict[str, list[str]]:
    """Return the labels of each classifier; an empty one stands for no colour."""
    colours = ["", *COLOURS]
    return dict(zip(HEADS, (list(LOOKS), colours, colours), strict=True))


@torch.no_grad()
def _examples(
    parts: Parts, count: int, *, held_out: bool, stream: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return pooled prompts ``(count, P)``, and the right label of each by classifier."""
    rng = np.random.default_rng((SEED, stream, held_out))
    drawn = [wordings.example(rng, held_out=held_out) for _ in range(count)]
    pooled: Any = torch.cat(
        [
            parts.unet.add_embedding(embed(parts, [e.prompt for e in drawn[i : i + 200]]))
            for i in range(0, count, 200)
        ]
    )
    labels: dict[str, list[int]] = {name: [] for name in HEADS}
    names = label_names()
    for example in drawn:
        first, second, *_ = (*example.colours, "", "")
        for head, label in zip(HEADS, (example.look, first, second), strict=True):
            labels[head].append(names[head].index(label))
    return pooled, {head: torch.tensor(values) for head, values in labels.items()}


def _fit(pooled: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the weights ``(count, P + 1)`` of a classifier by logistic regression."""
    weights = torch.zeros(count, pooled.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=0.03)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = F.cross_entropy(_scores(pooled, weights), labels) + DECAY * weights.square().sum()
        torch.autograd.backward(loss)
        optimiser.step()
    return weights.detach()


def _scores(pooled: Tensor, weights: Tensor) -> Tensor:
    return pooled @ weights[:, :-1].T + weights[:, -1]


if __name__ == "__main__":
    main()
