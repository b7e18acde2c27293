"""Autoencoders as streams, against the published ones and against a single call."""

import zlib

import pytest
import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.video.taehv import TAEHV, StreamingHalf, TinyDecoder, TinyEncoder, load_taehv
from streamcam.video.wan_vae import Normalisation, WanDecoder, WanEncoder
from streamcam.video.wan_weights import load_wan_vae
from tests.video.video_goldens import close, golden, needs_goldens


def vae() -> object:
    return load_wan_vae(golden("vae_tiny_weights")[0], torch.float32)


def recorded_taehv() -> TAEHV:
    """Return the network with the weights that the reference derives from their names."""

    def drawn(name: str, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
        draw = torch.randn(like.shape, generator=generator)
        return 0.02 * draw if like.ndim == 1 else draw * (1 / like[0].numel()) ** 0.5

    weights = {name: drawn(name, like) for name, like in TAEHV().state_dict().items()}
    recorded = golden("taehv_stream")[1]["weight_check_shape_sum_first"]
    assert weights.keys() == recorded.keys()
    for name, (shape, total, _) in recorded.items():
        assert list(weights[name].shape) == shape
        assert float(weights[name].sum()) == pytest.approx(total, abs=1e-3)
    return load_taehv(weights, torch.float32)


@needs_goldens
@torch.inference_mode()
def test_the_wan_encoder_streams_as_published() -> None:
    tensors, case = golden("vae_stream")
    plain, normalised = WanEncoder(vae(), normalised=False), WanEncoder(vae(), normalised=True)
    pictures = tensors["video"][0].transpose(0, 1)
    for i, (a, b) in enumerate(case["enc_calls"]):
        close(plain(pictures[a:b]), tensors[f"enc.{i}"][0].transpose(0, 1))
    close(normalised(pictures[:5]), tensors["enc_scaled.0"][0].transpose(0, 1))


@needs_goldens
@torch.inference_mode()
def test_the_wan_decoder_streams_as_published_and_starts_again_after_a_reset() -> None:
    tensors, case = golden("vae_stream")
    decode = WanDecoder(vae())
    latents = tensors["latents"][0]
    for _ in range(2):
        for i, (a, b) in enumerate(case["dec_calls"]):
            close(decode(latents[a:b]), tensors[f"dec.{i}"][0])
        decode.reset()


@needs_goldens
@torch.inference_mode()
def test_taehv_split_into_calls_equals_the_published_one_in_one_call() -> None:
    tensors, _ = golden("taehv_stream")
    model = recorded_taehv()
    decode, encode = StreamingHalf(model.decoder), StreamingHalf(model.encoder)
    latents, video = tensors["latents"][0], tensors["video01"][0]
    cuts = ((0, 2), (2, 3), (3, 7))
    close(torch.cat([decode(latents[a:b]) for a, b in cuts]), tensors["dec_full_seq"][0])
    close(torch.cat([encode(video[:4]), encode(video[4:])]), tensors["enc_full_seq"][0])


@torch.inference_mode()
def test_taehv_takes_and_gives_as_many_frames_per_call_as_the_wan_autoencoder() -> None:
    torch.manual_seed(0)
    model = TAEHV().eval()
    encode, decode = TinyEncoder(model, None), TinyDecoder(model)
    video = torch.rand(13, 3, 32, 48) * 2 - 1
    latents = [encode(video[:5]), encode(video[5:9]), encode(video[9:])]
    assert [len(x) for x in latents] == [2, 1, 1]
    assert latents[0].shape[1:] == (16, 4, 6)
    assert [len(decode(x)) for x in latents] == [5, 4, 4]
    decode.reset()
    assert len(decode(latents[0])) == 5


@needs_goldens
@torch.inference_mode()
def test_taehv_gives_plain_latents_where_the_transformer_takes_them() -> None:
    model, scale = recorded_taehv(), Normalisation(vae())
    video = torch.rand(5, 3, 32, 32) * 2 - 1
    close(scale.normalise(TinyEncoder(model, scale)(video)), TinyEncoder(model, None)(video))


def test_weights_of_another_model_are_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"^these are not the weights of TAEHV.*encoder"):
        load_taehv({"a": torch.zeros(1)}, torch.float32)
    with pytest.raises(ModelError, match=r"^these are not the weights of the Wan autoencoder"):
        load_wan_vae({"a": torch.zeros(1)}, torch.float32)
