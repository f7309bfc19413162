"""The fast decoder is diffusers' decoder: same frames for any weights, any clip, one latent frame after
another.
"""

import pytest
import torch
from torch import Tensor

from models.fused import add_norm_silu
from models.wan_decoder import CausalConv, ConvWeights, FastDecoder, Prepared, enlarging_weight

diffusers = pytest.importorskip("diffusers")


def random_vae(device: str = "cpu", dtype: torch.dtype = torch.float32):
    """A small VAE of Wan's shape whose every part matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKLWan(base_dim=8, z_dim=16).eval().requires_grad_(False)
        for name, value in vae.named_parameters():
            fan_in = value[0].numel() if value.ndim > 3 else 1
            value.normal_(1.0 if "gamma" in name else 0.0, 0.2 if "gamma" in name else fan_in**-0.5)
    return vae.to(device, dtype)


def latents(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 16, frames, 4, 6, generator=torch.Generator().manual_seed(1))


def decoded(decoder: FastDecoder, z: Tensor) -> Tensor:
    return torch.cat([decoder.step(z[:, :, i : i + 1]) for i in range(z.shape[2])], dim=2)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_equals_the_reference_decoder(frames: int) -> None:
    """Guards against lost history, a wrong first frame, a dropped bias. Tolerance: float32 sums in another
    order.
    """
    vae = random_vae()
    z = latents(frames)
    with torch.no_grad():
        reference = vae.decode(z).sample
    found = decoded(FastDecoder(vae), z).clamp(-1, 1)
    assert found.shape == reference.shape == (2, 3, 4 * frames - 3, 32, 48)
    assert float((reference.abs() < 1).float().mean()) > 0.05
    torch.testing.assert_close(found, reference, atol=5e-5, rtol=0)


def test_streams_share_weights_and_nothing_else() -> None:
    """Guards against features of one clip that leak into another one of the same weights, before or beside
    it.
    """
    vae, prepared = random_vae(), Prepared(on_cuda=False)
    z, other = latents(3), latents(3) + 1
    alone = decoded(FastDecoder(vae, prepared), z)
    one, two = FastDecoder(vae, prepared), FastDecoder(vae, prepared)
    assert one.conv_in.weights is two.conv_in.weights
    woven = [(one.step(z[:, :, i : i + 1]), two.step(other[:, :, i : i + 1])) for i in range(3)]
    assert torch.equal(torch.cat([a for a, _ in woven], dim=2), alone)
    assert not torch.equal(torch.cat([b for _, b in woven], dim=2), alone)


def test_three_taps_beside_each_other_are_the_same_convolution() -> None:
    """Guards against taps in the wrong order, and history that only one of the two forms keeps."""
    conv = torch.nn.Conv3d(5, 7, 3)
    forms = [CausalConv(ConvWeights(conv, taps=taps)) for taps in (False, True)]
    for frames in (1, 1, 2, 4, 4, 2, 2, 1):
        x = torch.randn(2, 5, frames, 6, 4)
        for form in forms:
            add_norm_silu(x, torch.zeros(5), None, torch.ones(5), form.room(2, frames, 6, 4), keep_sum=False)
        torch.testing.assert_close(forms[1].run(), forms[0].run(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 3])
def test_the_whole_decoder_with_taps(frames: int) -> None:
    """The form that runs on CUDA, level by level, on the CPU."""
    vae, z = random_vae(), latents(frames)
    plain, taps = (decoded(FastDecoder(vae, Prepared(on_cuda=on)), z) for on in (False, True))
    torch.testing.assert_close(taps, plain, atol=5e-5, rtol=0)


def test_enlarging_is_one_transposed_convolution() -> None:
    """Guards against a flipped kernel and wrong borders: nearest enlargement, then 3x3 with zeros around
    it.
    """
    x, weight = torch.randn(2, 3, 5, 4), torch.randn(6, 3, 3, 3)
    large = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(large, weight, padding=1)
    found = torch.nn.functional.conv_transpose2d(x, enlarging_weight(weight), stride=2, padding=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("channels", [8, 96, 384])
def test_the_kernel_equals_its_plain_form(channels: int, taps: int) -> None:
    """Guards against wrong strides, masks, rows and frames at widths that are no power of two."""
    shape = (2, channels, 3, 5, 7)
    x, residual = (torch.randn(shape).to(memory_format=torch.channels_last_3d) for _ in range(2))
    bias, gamma = torch.randn(channels), torch.randn(channels)
    plain = torch.zeros(2, taps * channels, 3 + 2 // taps, 5, 7).to(memory_format=torch.channels_last_3d)
    kernel = plain.cuda()
    first = plain.shape[2] - 3
    kept = add_norm_silu(x, bias, residual, gamma, plain[:, :, first:], keep_sum=True)
    found = add_norm_silu(
        x.cuda(), bias.cuda(), residual.cuda(), gamma.cuda(), kernel[:, :, first:], keep_sum=True
    )
    assert kept is not None
    assert found is not None
    torch.testing.assert_close(found.cpu(), kept, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(kernel.cpu(), plain, atol=1e-5, rtol=1e-5)
    alone = add_norm_silu(x.cuda(), bias.cuda(), None, None, None, keep_sum=True)
    torch.testing.assert_close(alone, (x + bias[:, None, None, None]).cuda(), atol=1e-6, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_equals_the_reference_decoder_on_a_gpu() -> None:
    """The whole decoder in bfloat16, against the reference in float32; the reference's own bfloat16 error is
    the yardstick.
    """
    vae = random_vae("cuda")
    z = latents(3).cuda()
    with torch.no_grad():
        exact = vae.decode(z).sample
        rounded = random_vae("cuda", torch.bfloat16).decode(z.bfloat16()).sample.float()
    fast = decoded(FastDecoder(random_vae("cuda", torch.bfloat16)), z.bfloat16()).float().clamp(-1, 1)
    assert float((fast - exact).norm()) <= 1.5 * float((rounded - exact).norm())
