"""Memory over time: a bank of features of past frames that the U-Net reads (StreamV2V).

Self-attention is extended with the keys and values of past frames, and features are fused with
the past ones that are nearest to them (arXiv 2405.15757, section 3). The bank holds as many
tokens as one frame has: each token of a frame is merged with its nearest past one, so that it
carries the mean of its own history with it, wherever it has moved to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.diffusion.attention import attention_output, is_plain, query_key_value
from streamcam.diffusion.device_numbers import DeviceNumbers
from streamcam.diffusion.steering import LayerInputs, MemoryInputs
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.settings.parameters import Parameters

MAX_TOKENS = 2048
"""Tokens that a layer keeps at most: of more, every second, third, … one."""
CLOSED = -1e4
"""Logarithm of the weight of keys that do not count: exactly 0, in half precision too."""


class Slot(NamedTuple):
    """The part of a row of the bank that one layer reads and writes."""

    start: int
    stride: int
    """Every such token of a frame is kept."""
    shape: tuple[int, int]
    """Tokens and their width."""

    @property
    def values(self) -> int:
        """The length of the part."""
        return self.shape[0] * self.shape[1]

    def read(self, memory: MemoryInputs, dtype: torch.dtype) -> Tensor:
        """Return the past tokens ``(rows, tokens, width)``."""
        part = memory.bank[:, self.start : self.start + self.values]
        return part.reshape(len(part), *self.shape).to(dtype)


def matched(new: Tensor, past: Tensor, memory: MemoryInputs) -> tuple[Tensor, Tensor]:
    """Find the nearest past token of each new one, by their cosine about the mean of all new ones.

    What all tokens have in common tells none from another.

    Args:
        new: ``(rows, N, width)``.
        past: ``(rows, M, width)``.
        memory: the threshold, and which rows are open.

    Returns:
        Indices ``(rows, N)`` of past tokens, and ``(rows, N, 1)`` how far they match: 0 up to the
        threshold, rising to 1 halfway from there to equality, so that none appears at once.
    """
    mean = new.mean(1, keepdim=True)
    directions = (F.normalize(states - mean, dim=-1) for states in (new, past))
    cosines = torch.matmul(next(directions), next(directions).transpose(1, 2))
    nearest, indices = cosines.float().max(dim=-1)
    match = 2 * (nearest - memory.threshold) / (1 - memory.threshold).clamp(min=1e-3)
    return indices, (match.clamp(0, 1) * memory.open).unsqueeze(-1).to(new.dtype)


def merged(new: Tensor, past: Tensor, found: tuple[Tensor, Tensor], memory: MemoryInputs) -> Tensor:
    """Return each new token averaged with the past one `found` for it, ``(rows, N, width)``.

    A new frame has the weight 1 / length in it; where nothing matches, it is all.
    """
    indices, match = found
    nearest = past.gather(1, indices.unsqueeze(-1).expand(-1, -1, past.shape[-1]))
    return new + match * (1 - memory.weight).to(new.dtype) * (nearest - new)


class RememberingSelfAttention:
    """Self-attention that also sees the keys and values of past frames.

    Args:
        keys: where the past keys are.
        values: where the past values are.
        features: where the past outputs are; None where outputs are not fused.
        inputs: the memory of the call, and where the new one is left.
    """

    def __init__(
        self, keys: Slot, values: Slot, features: Slot | None, inputs: LayerInputs
    ) -> None:
        self.keys = keys
        self.values = values
        self.features = features
        self.inputs = inputs

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        query, key, value = query_key_value(attn, hidden_states)
        memory = self.inputs.steering.memory
        if memory is None:
            return attention_output(attn, query, key, value)
        past_key = self.keys.read(memory, key.dtype)
        past_value = self.values.read(memory, key.dtype)
        states = attention_output(
            attn,
            query,
            torch.cat([key, past_key], dim=1),
            torch.cat([value, past_value], dim=1),
            self._log_weights(key, past_key, memory),
        )
        stride = self.keys.stride
        key, value = key[:, ::stride], value[:, ::stride]
        found = matched(key, past_key, memory)
        self.inputs.outputs += [
            merged(key, past_key, found, memory),
            merged(value, past_value, found, memory),
        ]
        if self.features is None:
            return states
        return fused(states, self.features, memory, self.inputs)

    def _log_weights(self, key: Tensor, past_key: Tensor, memory: MemoryInputs) -> Tensor:
        """Return what is added to the logits, ``(rows, 1, 1, N + M)``: past keys weigh less."""
        # The kept tokens of a frame together weigh as much as all that it had.
        weight = memory.strength * memory.open * (key.shape[1] / past_key.shape[1])
        logs = torch.where(weight > 0, weight.clamp(min=1e-30).log(), CLOSED)
        now = torch.zeros_like(key[:, :, 0])
        past = logs.to(key.dtype).expand(-1, past_key.shape[1])
        return torch.cat([now, past], dim=1)[:, None, None]


def fused(states: Tensor, slot: Slot, memory: MemoryInputs, inputs: LayerInputs) -> Tensor:
    """Return `states` moved towards their merged history, by the strength of the memory."""
    past = slot.read(memory, states.dtype)
    history = merged(states, past, matched(states, past, memory), memory)
    inputs.outputs.append(history[:, :: slot.stride])
    return states + memory.strength.to(states.dtype) * (history - states)


def enable_temporal_memory(
    unet: Any, inputs: LayerInputs, size: tuple[int, int], *, features: bool
) -> int:
    """Let self-attentions of `unet` remember, and with `features` the layers after them.

    The first self-attention of each transformer does.

    Args:
        unet: a UNet2DConditionModel.
        inputs: those of the `Denoise` stage that it runs in.
        size: height and width of the latents.
        features: whether features are fused, too.

    Returns:
        The values that the bank holds for each row of a call.
    """
    layers = {
        name: layer
        for name, layer in unet.named_modules()
        if name.endswith("transformer_blocks.0.attn1") and is_plain(layer)
    }
    planner = _Planner()
    processors = dict(unet.attn_processors)
    for name in sorted(layers, key=_order):
        tokens = _tokens(unet, name, size)
        keys, values = (planner.slot(tokens, layers[name].inner_dim) for _ in range(2))
        is_fused = features and _fuses(unet, name)
        outputs = planner.slot(tokens, layers[name].inner_dim) if is_fused else None
        processors[f"{name}.processor"] = RememberingSelfAttention(keys, values, outputs, inputs)
    unet.set_attn_processor(processors)
    return planner.values


class _Planner:
    """Lays out a row of the bank, in the order in which layers run."""

    def __init__(self) -> None:
        self.values = 0

    def slot(self, tokens: int, width: int) -> Slot:
        stride = -(-tokens // MAX_TOKENS)
        slot = Slot(self.values, stride, (-(-tokens // stride), width))
        self.values += slot.values
        return slot


def _order(name: str) -> tuple[int, list[int]]:
    """Return what sorts the layers of a U-Net as they run."""
    place = ("down_blocks", "mid_block", "up_blocks").index(name.split(".", maxsplit=1)[0])
    return place, [int(part) for part in name.split(".") if part.isdigit()]


def _level(unet: Any, name: str) -> int:
    """Return how often the latents are halved before the layer called `name`."""
    last = len(unet.config.block_out_channels) - 1
    block, number = name.split(".")[:2]
    if block == "mid_block":
        return last
    return int(number) if block == "down_blocks" else last - int(number)


def _tokens(unet: Any, name: str, size: tuple[int, int]) -> int:
    height, width = size
    for _ in range(_level(unet, name)):
        height, width = -(-height // 2), -(-width // 2)
    return height * width


def _fuses(unet: Any, name: str) -> bool:
    """Return whether outputs are fused: in the middle and on the way up, not at full size."""
    return not name.startswith("down_blocks") and _level(unet, name) > 0


class TemporalMemory:
    """The bank of a stream from call to call, and what the layers are told of it.

    With f frames in a call all of them see the memory of the last frame of the call before.
    Steps that run one after another have a bank each, as the rows of a batch have.

    Args:
        values: that the bank holds for a row.
        steps: denoising steps.
        f: frames in a call.
        device: of the bank.
        keep: returns a tensor, by a name, in memory that stays where recorded calls need that.
        copy: copies a CPU tensor into one on the device.
    """

    def __init__(
        self,
        values: int,
        steps: int,
        f: int,
        device: torch.device,
        keep: FixedMemory,
        copy: Callable[[Tensor, Tensor], object],
    ) -> None:
        self._values = values
        self._steps = steps
        self._f = f
        self._device = device
        self._keep = keep
        self._numbers = DeviceNumbers("memory numbers", device, keep, copy)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._is_new = True
        self._open = [0.0] * self._steps
        self._banks: dict[int, Tensor] = {}
        self._step = 0

    def begin(self, parameters: Parameters, *, cut: bool) -> None:
        """Prepare a call; `cut` says whether its new frames show another scene."""
        # Row i holds frames that came i calls ago: a cut reaches it i calls later.
        self._open = [float(not (cut or self._is_new)), *self._open[:-1]]
        self._is_new = False
        weight = min(1.0, self._f / parameters.temporal_length)
        self._numbers.send(
            parameters.temporal_strength, weight, parameters.temporal_threshold, *self._open
        )

    def begin_steps(self) -> None:
        """Begin the first of the steps of a call."""
        self._step = 0

    def inputs(self, rows: int, *, batch: bool) -> MemoryInputs:
        """Return the inputs of the next call of the U-Net, of `rows` rows of f frames.

        In a `batch` they are the rows with the negative prompt, if any, and then all steps.
        """
        strength, weight, threshold, *_ = self._numbers.tensor.unbind()
        opened = self._numbers.tensor[3:]
        if batch:
            opened = torch.cat([opened[: rows - self._steps], opened])
        else:
            opened = opened[:1].expand(rows)
        if self._step not in self._banks:
            zeros = torch.zeros(rows, self._values, device=self._device)
            self._banks[self._step] = self._keep(("bank", self._step), zeros)
        bank = self._banks[self._step]
        if self._f > 1:
            bank = bank.repeat_interleave(self._f, dim=0)
            opened = opened.repeat_interleave(self._f)
        return MemoryInputs(bank, strength, weight, threshold, opened.unsqueeze(1))

    def store(self, new: Tensor) -> None:
        """Keep what the layers have left, ``(rows * f, values)``, and go on to the next step."""
        last = new[self._f - 1 :: self._f]
        self._banks[self._step] = self._keep(("bank", self._step), last)
        self._step += 1
