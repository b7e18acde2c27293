"""Guidance that leaves colours and contrast as they are without it."""

import pytest
import torch

from streamcam.diffusion.guidance import rescaled
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, RecordingStream, images, moving


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return load_image_model(build_config([TINY]), report=lambda _: None)


def latents(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(2, 1, 4, 8, 8, generator=generator) + seed


def test_all_of_the_statistics_are_those_without_guidance() -> None:
    guided, unguided = latents(3), latents(1)
    result = rescaled(guided, unguided, 1.0)
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(result, (-2, -1)), statistic(unguided, (-2, -1)))
    # The image itself is the guided one.
    pairs = torch.stack([result[0, 0, 0].flatten(), guided[0, 0, 0].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.9999


def test_the_share_goes_from_the_guided_estimate_to_the_rescaled_one() -> None:
    guided, unguided = latents(3), latents(1)
    assert torch.equal(rescaled(guided, unguided, 0.0), guided)
    half = (guided + rescaled(guided, unguided, 1.0)) / 2
    torch.testing.assert_close(rescaled(guided, unguided, 0.5), half)


def test_an_even_channel_stays_finite() -> None:
    even = torch.full((1, 1, 4, 8, 8), 0.5)
    assert rescaled(even, even, 1.0).isfinite().all()
    assert rescaled(latents(1)[:1], even, 1.0).isfinite().all()


@pytest.mark.parametrize("settings", [{"t_index_list": "20"}, {"steps": 3}])
def test_a_rescaled_stream_is_less_burnt_and_neutral_guidance_is_left_alone(
    models: ImageModel, settings: dict[str, object]
) -> None:
    def latents_of(scale: float, rescale: float) -> torch.Tensor:
        given = {"cfg_type": "self", "guidance_scale": scale, "guidance_rescale": rescale}
        stream = RecordingStream(models, **settings, **given)
        stream(moving(3))
        return torch.stack(stream.latents)

    neutral, guided, mended = latents_of(1, 0), latents_of(6, 0), latents_of(6, 1)
    torch.testing.assert_close(latents_of(1, 1), neutral, atol=1e-4, rtol=1e-4)

    def off(x_0: torch.Tensor) -> float:
        spreads = [values.std((-2, -1)) for values in (x_0, neutral)]
        return float((spreads[0] - spreads[1]).abs().mean())

    assert off(mended) < 0.5 * off(guided)


def test_it_changes_from_one_frame_to_the_next(models: ImageModel) -> None:
    def run(changes: dict[int, dict[str, object]]) -> object:
        stream = RecordingStream(models, t_index_list="20", guidance_scale=3.0)
        return images(stream(moving(4), changes))

    off, switched = run({}), run({1: {"guidance_rescale": 0.8}, 3: {"guidance_rescale": 0}})
    same = [(a == b).all() for a, b in zip(off, switched, strict=True)]  # type: ignore[call-overload]
    assert same == [True, False, False, True]


def test_without_guidance_nothing_is_rescaled(models: ImageModel) -> None:
    stream = RecordingStream(models, cfg_type="none", guidance_rescale=1.0)
    assert stream.stream.sampler.plan.guidance_rescale is None
