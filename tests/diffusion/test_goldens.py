"""The published algorithm, compared number by number with reference data.

Two published defects are not reproduced; the correct behaviour is tested instead in
``test_stream_batch``: ``self`` with one step never resets its residual noise, and without a
denoising batch no residual noise is carried. To run other reference data of the same layout,
name its folder in ``STREAMCAM_GOLDENS``.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from streamcam.diffusion import similarity
from streamcam.frames.image_tensors import fitted, to_images, to_tensor
from streamcam.types import Frame
from tests.conftest import SHARED
from tests.diffusion.goldens import (
    Run,
    config_of,
    published_sequential_case,
    stream_batch_case,
)

GOLDENS = Path(os.environ.get("STREAMCAM_GOLDENS", SHARED / "goldens" / "v1"))
CASES = sorted((GOLDENS / "cases").glob("*.json"))
MATRIX = GOLDENS / "matrix" / "matrix.json"
ENTRIES = json.loads(MATRIX.read_text())["entries"] if MATRIX.exists() else []
BASE = json.loads(MATRIX.read_text())["base_config"] if MATRIX.exists() else {}

pytestmark = pytest.mark.skipif(not CASES, reason="the reference data is not next to this checkout")


def known_defect(config: dict[str, Any]) -> str | None:
    """Return the published defect that a case records, if it does."""
    one_step = len(config["t_index_list"]) == 1 and config["use_denoising_batch"]
    if config["cfg_type"] == "self" and one_step and config["guidance_scale"] != 1:
        return "self with one step feeds its residual noise back from call to call"
    return None


def is_comparable(entry: dict[str, Any]) -> bool:
    """Return whether an entry of the matrix is to be compared with."""
    recorded = entry["status"] == "ok" and entry["strict"]
    return recorded and not known_defect(BASE | entry["config"])


def close(ours: torch.Tensor, golden: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == golden.shape
    error = float((ours - golden).abs().max())
    assert error <= tolerance, f"off by {error:.2e}, allowed {tolerance:.1e}"


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_recorded_case_is_reproduced(path: Path) -> None:
    recorded = json.loads(path.read_text())
    case, golden = recorded["config"], load_file(path.with_suffix(".safetensors"))
    config = config_of(case, GOLDENS / "models")
    calls = [k for k in range(case["n_calls"]) if golden.get("filter_processed", [1] * 99)[k]]
    run, states = _run(config, case, golden, calls)
    warmup, tolerance = recorded["warmup_calls"], recorded["tolerance"]

    # Without a denoising batch the reference draws one step's noise; beyond one frame a call,
    # rows for every frame, of which it uses the first.
    noise = golden["init_noise"][:: config.frame_buffer_size]
    close(run.init_noise[: len(noise)], noise, 0)
    close(run.stream.sampler.steps.timesteps, golden["timesteps"], 0)
    close(run.stream.sampler.steps.c_out.flatten(), golden["c_out"], 1e-5)
    text = run.models.encode_text(case["prompt"])
    close(text.prompt_embeds, golden["cond_embeds"], 1e-4)
    if "pooled_embeds" in golden:
        assert text.pooled_prompt_embeds is not None
        close(text.pooled_prompt_embeds, golden["pooled_embeds"], 1e-4)
    close(torch.stack(run.x_t_in), golden["x_t_in"][calls], tolerance["x_t_in"])
    if known_defect(case):
        return  # The input is as published, the output is the correct one.
    close(torch.stack(run.x0_latent), golden["x0_latent"][calls][warmup:], tolerance["x0_latent"])
    close(torch.stack(run.output), golden["output"][calls][warmup:], tolerance["output"])
    for k, state in enumerate(states[warmup:], start=warmup):
        for name, ours in state.items():
            if name == "x_t_latent_buffer" or case["cfg_type"] in ("self", "initialize"):
                close(ours, golden[name][calls[k]][: len(ours)], tolerance[name])


RESET = [p for p in CASES if p.stem.startswith("seq_none") and p.stem.endswith("_reset")]


@pytest.mark.parametrize("path", RESET, ids=lambda p: p.stem)
@torch.inference_mode()
def test_sequential_steps_give_the_published_latents_with_the_published_noise(path: Path) -> None:
    recorded = json.loads(path.read_text())
    case, golden = recorded["config"], load_file(path.with_suffix(".safetensors"))
    run = Run(config_of(case, GOLDENS / "models"))
    sampler = run.stream.sampler
    drawn = sampler.noise
    for call, group in enumerate(golden["input_frames"]):
        if case["do_add_noise"]:
            added = torch.cat([drawn.added[:1], golden["step_noise"][call]])
            sampler.plan = replace(sampler.plan, noise=drawn._replace(added=added))
        run.stream(Frame(group[0].numpy(), call, 0.0), run.config.live)
    close(torch.stack(run.x0_latent), golden["x0_latent"], recorded["tolerance"]["x0_latent"])
    close(torch.stack(run.output), golden["output"], recorded["tolerance"]["output"])


def _run(config: Any, case: dict[str, Any], golden: Any, calls: list[int]) -> tuple[Run, list[Any]]:
    frames = golden.get("input_frames")
    x_noise = golden.get("x_noise")
    if frames is None:
        frames = torch.zeros((len(x_noise), x_noise.shape[1], 8, 8, 3), dtype=torch.uint8)
    if not config.use_denoising_batch:
        asis = not case.get("harness_actions")
        run = published_sequential_case(
            config, frames, x_noise, golden.get("step_noise"), asis=asis
        )
        return run, []
    prompts = {int(k): text for k, text in case.get("update_prompt", {}).items()}
    return stream_batch_case(config, frames[calls], x_noise, prompts)


@pytest.fixture(scope="module")
def matrix() -> Any:
    return load_file(MATRIX.with_suffix(".safetensors"))


@pytest.mark.parametrize("entry", [e for e in ENTRIES if is_comparable(e)], ids=lambda e: e["key"])
def test_matrix_entry_is_reproduced(entry: dict[str, Any], matrix: Any) -> None:
    case = BASE | entry["config"]
    config = config_of(case, GOLDENS / "models")
    frames = matrix[f"input_frames.fb{config.frame_buffer_size}"][: entry["n_calls"]]
    golden = matrix[f"{entry['key']}.x0_latent"]
    if config.use_denoising_batch:
        run, _ = stream_batch_case(config, frames, None, {})
    else:
        step_noise = matrix[entry["step_noise"]] if entry.get("step_noise") else None
        if not config.do_add_noise:
            step_noise = None
        run = published_sequential_case(config, frames, None, step_noise, asis=True)
    close(
        torch.stack(run.x0_latent), golden[entry["warmup_calls"] :], entry["tolerance"]["x0_latent"]
    )


def test_similarity_filter_gives_the_published_probabilities() -> None:
    golden = load_file(GOLDENS / "filter" / "filter.safetensors")
    for a, b, value in zip(golden["cos.a"], golden["cos.b"], golden["cos.value"], strict=True):
        ours = similarity.cosine(a.flatten().numpy(), b.flatten().numpy())
        assert ours == pytest.approx(float(value), abs=1e-6)
    table = [golden[f"table.{name}"].tolist() for name in ("threshold", "cos_sim", "draw")]
    expected = [golden[f"table.{name}"].tolist() for name in ("skip_prob", "processed")]
    for threshold, cos, draw, probability, processed in zip(*table, *expected, strict=True):
        ours = similarity.skip_probability(cos, threshold)
        assert ours == pytest.approx(probability, abs=1e-9)
        if (
            ours > 0
        ):  # In the published code a draw of exactly 0 skips even an entirely different frame.
            assert similarity.skips(ours, draw, 0, 10) != bool(processed)


def test_similarity_sequences_give_the_published_probabilities() -> None:
    golden = load_file(GOLDENS / "filter" / "filter.safetensors")
    described = json.loads((GOLDENS / "filter" / "filter.json").read_text())
    for sequence in described["sequences"]:
        key, threshold = f"seq.{sequence['name']}", sequence["threshold"]
        setters = {frame: value for frame, what, value in sequence["setters"] if "thresh" in what}
        frames, references = golden[f"{key}.frames"], golden[f"{key}.reference_frame"]
        for t in range(1, len(frames)):
            threshold = setters.get(t, threshold)
            a, b = (frames[i].flatten().numpy() for i in (t, int(references[t])))
            cos = similarity.cosine(a, b)
            assert cos == pytest.approx(float(golden[f"{key}.cos_sim"][t]), abs=1e-6)
            probability = similarity.skip_probability(cos, threshold)
            assert probability == pytest.approx(float(golden[f"{key}.skip_prob"][t]), abs=1e-4)


def test_images_are_converted_as_published() -> None:
    golden = load_file(GOLDENS / "prepost" / "prepost.safetensors")
    for name in ("pil_same", "pil_resize", "pil_list"):
        inputs = golden[f"pre.{name}.in"]
        images = inputs if inputs.ndim == 4 else inputs[None]
        fit = [fitted(image.numpy(), 32, 32, "stretch") for image in images]
        close(to_tensor(fit, torch.device("cpu")), golden[f"pre.{name}.out"], 2e-6)
    ours = torch.stack([torch.from_numpy(i) for i in to_images(golden["post.in"])])
    assert torch.equal(ours, golden["post.pil_u8"])
