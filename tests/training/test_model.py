"""Test that untrained parts are small and start close to the identity."""

import copy

import numpy as np
import pytest
import torch

from streamcam.frames.image_tensors import to_tensor
from tests.support.streams import EAGER
from training import model, text, tokenizer
from training.dataset import scene
from training.inits import LATENT_STD, whiten_details, whiten_prompts
from training.model import MAX_BYTES, Parts
from training.train import predict


@pytest.fixture(scope="module")
def parts() -> Parts:
    return model.build(tokenizer.learn(text.corpus(0, prompts=200)))


def test_all_weights_fit_into_twelve_megabytes(parts: Parts) -> None:
    assert 2 * sum(model.sizes(parts).values()) < MAX_BYTES - 200_000


def test_an_untrained_unet_returns_its_latents(parts: Parts) -> None:
    x_t = 8 * torch.randn(
        2, model.LATENT_CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0)
    )
    states = text.embed(parts, ["neon", "a pencil sketch"])
    with torch.no_grad():
        output = parts.unet(x_t, torch.tensor([199, 99]), encoder_hidden_states=states).sample
    assert (output - x_t).abs().mean() < 0.1 * x_t.abs().mean()


def test_an_untrained_autoencoder_keeps_colours(parts: Parts) -> None:
    # Bands of eight pixels: what the wired latents can hold.
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(0.2 + 0.6 * image, scale_factor=16)
    with torch.no_grad():
        latents = parts.vae.encode(2 * image - 1).latents
        decoded = parts.vae.decode(latents).sample / 2 + 0.5
    assert latents.shape == (1, model.LATENT_CHANNELS, 16, 16)
    assert (decoded - image).abs().mean() < 0.12
    assert np.corrcoef((decoded - image.mean()).flatten(), image.flatten())[0, 1] > 0.8


def test_whitened_prompts_have_mean_0_and_deviation_1() -> None:
    parts = model.build(tokenizer.learn(text.corpus(0, prompts=200)))
    states = text.sample_states(parts, seed=0, count=100)
    whiten_prompts(parts.unet.add_embedding, states)
    with torch.no_grad():
        pooled = parts.unet.add_embedding(states)
    assert torch.allclose(pooled.mean(0), torch.zeros(256), atol=1e-3)
    assert torch.allclose(pooled.std(0), torch.ones(256), atol=1e-2)


def test_building_twice_gives_the_same_weights(parts: Parts) -> None:
    rebuilt = model.build(parts.tokenizer)
    for first, second in zip(parts.unet.parameters(), rebuilt.unet.parameters(), strict=True):
        assert torch.equal(first, second)


def test_scenes_depend_on_seed_number_and_split_alone() -> None:
    assert np.array_equal(scene(0, 3, 64), scene(0, 3, 64))
    assert not np.array_equal(scene(0, 3, 64), scene(0, 4, 64))
    assert not np.array_equal(scene(0, 3, 64), scene(0, 3, 64, held_out=True))


def test_training_predicts_the_same_x_0_as_a_stream(parts: Parts) -> None:
    from streamcam.diffusion.image_model import from_pipeline
    from streamcam.diffusion.stream import DiffusionStream
    from streamcam.settings.config_layers import build_config
    from streamcam.types import Frame
    from training.pairs import Batch

    config = build_config(
        [
            {
                "prompt": "neon",
                "t_index_list": [40],
                "cfg_type": "none",
                "width": 64,
                "height": 64,
            }
            | EAGER
        ]
    )
    models = from_pipeline(model.pipeline(parts), config, torch.device("cpu"))
    decoded: list[torch.Tensor] = []
    encoded: list[torch.Tensor] = []

    def decode(x_0: torch.Tensor) -> torch.Tensor:
        decoded.append(x_0.clone())
        return models.decode(x_0)

    def encode(images: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        encoded.append(models.encode(images, noise))
        return encoded[-1]

    stream = DiffusionStream(models._replace(encode=encode, decode=decode), config)
    stream(Frame(scene(0, 0, 64), 0, 0.0), config.live)
    batch = Batch(encoded[0], encoded[0], ((40,),), ["neon"], [0], [1.0], None)
    noise = stream.sampler.noise.added[0]
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.normal", lambda _rng, like: noise.expand_as(like))
        x_0 = predict(parts, batch, np.random.default_rng(0), torch.device("cpu"))
    assert torch.allclose(x_0, decoded[0], atol=1e-3)


def test_details_start_as_large_as_colours_and_uncorrelated_with_them(parts: Parts) -> None:
    vae = copy.deepcopy(parts.vae)
    images = to_tensor([scene(0, i, 64) for i in range(12)], torch.device("cpu"))
    whiten_details(vae, images)
    with torch.no_grad():
        latents = vae.encoder(images).movedim(1, 0).flatten(1)
    assert latents[3:].std(1).max() < 1.1 * LATENT_STD
    assert latents[3:].std(1).median() > 0.9 * LATENT_STD
    correlation = torch.corrcoef(latents)[3:, :3]
    assert correlation.abs().max() < 0.05
