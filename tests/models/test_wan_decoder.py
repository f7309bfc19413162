"""The fast decoder is diffusers' decoder: same frames for any weights, any clip, one latent frame after
another.
"""

import importlib.util
import os

import pytest
import torch
from torch import Tensor

from models.fused import Room, add_norm_silu, attend_one_head, gather_taps, norm_silu_products
from models.wan_decoder import CausalConv, ConvWeights, FastDecoder, Prepared, Spares, enlarging_weight

diffusers = pytest.importorskip("diffusers")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"


def IN_KERNELS(test):  # noqa: N802 (a decorator that reads as a mark)
    """On a GPU, or on a CPU with TRITON_INTERPRET=1 where Triton is installed."""
    skip = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="needs a CUDA GPU")
    return pytest.mark.gpu(skip(test))


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
    """Guards against taps in the wrong order, and a past that is lost or another's: steps are the whole
    clip's convolution, and buffers go from one convolution to the next.
    """
    conv = torch.nn.Conv3d(5, 7, 3)
    for first, later in ((1, 1), (1, 2), (1, 4), (2, 2)):
        spares = Spares()
        forms = [CausalConv(ConvWeights(conv, taps=taps), spares, later) for taps in (False, True)]
        clip = torch.randn(2, 5, first + 3 * later, 6, 4)
        padded = torch.nn.functional.pad(clip, (0, 0, 0, 0, 2, 0))
        whole = torch.nn.functional.conv3d(padded, conv.weight, padding=(0, 1, 1))
        parts = zip(*(x.split([first, *[later] * 3], dim=2) for x in (clip, whole)), strict=True)
        for x, expected in parts:
            for form in forms:
                add_norm_silu(x, torch.zeros(5), None, None, form.room(2, x.shape[2], 6, 4), keep_sum=False)
                torch.testing.assert_close(form.run(), expected, atol=1e-5, rtol=0)


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


@IN_KERNELS
@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("channels", [8, 24])
@pytest.mark.parametrize(("frames", "later"), [(1, 1), (1, 4), (2, 2), (4, 4)])
def test_the_kernel_equals_its_plain_form(channels: int, taps: int, frames: int, later: int) -> None:
    """Guards against wrong strides, masks, rows and frames at widths that are no power of two, and a past
    that is not what the next step sees.
    """
    from models.kernels import add_norm_silu_cuda

    shape = (2, channels, frames, 5, 7)
    x, residual = (torch.randn(shape).to(memory_format=torch.channels_last_3d) for _ in range(2))
    bias, gamma = torch.randn(channels), torch.randn(channels)
    past = 2 // taps
    buffers = [
        torch.randn(2, taps * channels, past + length, 5, 7).to(memory_format=torch.channels_last_3d)
        for length in (frames, later)
    ]
    plain, kernel = Room(*buffers, taps), Room(*(buffer.to(DEVICE, copy=True) for buffer in buffers), taps)
    for given in ((residual, gamma, plain), (None, None, plain), (residual, gamma, None), (None, None, None)):
        on_device = [None if part is None else part.to(DEVICE) for part in (x, bias, *given[:2])]
        kept = add_norm_silu(x, bias, *given, keep_sum=True)
        found = add_norm_silu_cuda(*on_device, kernel if given[2] else None, keep_sum=True)  # type: ignore[arg-type]
        assert kept is not None and found is not None
        torch.testing.assert_close(found.cpu(), kept, atol=1e-6, rtol=1e-6)
        for mine, wanted in zip(kernel[:2], plain[:2], strict=True):
            torch.testing.assert_close(mine.cpu(), wanted, atol=1e-5, rtol=1e-5)


@IN_KERNELS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_last_convolution_is_a_convolution(dtype: torch.dtype) -> None:
    """Guards against taps in the wrong order, borders of pictures, clips and blocks of pixels, and a past of
    one frame or of another clip: three steps equal one convolution of the whole clip.
    """
    from models.kernels import gather_taps_cuda, norm_silu_products_cuda

    if INTERPRETED and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter multiplies no bfloat16")
    conv = torch.nn.Conv3d(24, 3, 3)
    clip = torch.randn(2, 24, 9, 20, 30).to(memory_format=torch.channels_last_3d)
    residual, bias, gamma = torch.randn_like(clip), torch.randn(24), torch.randn(24)
    room = Room(torch.empty(2, 24, 11, 20, 30), torch.empty(2, 24, 3, 20, 30), 1)
    room.now[:, :, :2] = 0
    with torch.no_grad():
        add_norm_silu(clip, bias, residual, gamma, room, keep_sum=False)
        whole = torch.nn.functional.conv3d(room.now, conv.weight, conv.bias, padding=(0, 1, 1))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    columns = Prepared(on_cuda=False).products(conv).detach().to(DEVICE, dtype)
    own_bias = conv.bias.detach().to(DEVICE, torch.float32)
    steps = zip(*(part.split([1, 4, 4], dim=2) for part in (clip, residual, whole)), strict=True)
    before = plain_before = None
    for own, more, expected in steps:
        x, other = (part.contiguous(memory_format=torch.channels_last_3d) for part in (own, more))
        given = (x.to(DEVICE, dtype), bias.to(DEVICE), other.to(DEVICE, dtype), gamma.to(DEVICE), columns)
        stored = torch.float16 if dtype == torch.bfloat16 else dtype
        products = norm_silu_products_cuda(*given, 81, stored)
        found = gather_taps_cuda(products, before, own_bias)
        torch.testing.assert_close(found.cpu(), expected, atol=tolerance, rtol=0)
        plain_products = norm_silu_products(x, bias, other, gamma, columns.cpu().float(), 81)
        plain = gather_taps(plain_products, plain_before, own_bias.cpu())
        torch.testing.assert_close(plain, expected, atol=max(tolerance, 0.01), rtol=0)
        before, plain_before = products, plain_products


@IN_KERNELS
def test_softmax_of_scores() -> None:
    """Guards against a padded row that counts, and a scale applied after the maximum."""
    from models.kernels import softmax_cuda

    scores = 30 * torch.randn(2, 5, 77, device=DEVICE)
    found = softmax_cuda(scores, 0.3, torch.float32)
    torch.testing.assert_close(found, torch.softmax(0.3 * scores.double(), dim=-1).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_one_wide_head(dtype: torch.dtype) -> None:
    """Guards against scores without their scale, on the device at hand."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k, v = (torch.randn(2, 40, 384).to(device, dtype) for _ in range(3))
    exact = torch.softmax(q.double() @ k.double().mT / 384**0.5, dim=-1) @ v.double()
    gap = (attend_one_head(q, k, v).double() - exact).abs().max()
    assert float(gap) <= (1e-5 if dtype == torch.float32 else 0.02)


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
