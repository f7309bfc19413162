"""Noise sources: portability, moments, and the draw order of the released code."""

import hashlib

import numpy as np
import pytest
import torch

from models.noise import (
    DrawOrder,
    GeneratorNoise,
    JointWindow,
    PortableNoise,
    SampleKey,
    TensorNoise,
    UpstreamNoise,
    lcg,
    portable_normal,
)

SHAPE = (21, 4, 2, 2)
A, B, C = SampleKey("red_ball", 0), SampleKey("red_ball", 1), SampleKey("blue_box", 0)


def portable(*samples: SampleKey, suite: str = "toybox") -> PortableNoise:
    return PortableNoise(suite=suite, samples=samples, shape=SHAPE)


def test_portable_noise_is_pinned() -> None:
    """Golden: a change of key, bit generator, layout or NumPy's normals would change every published clip.

    Remake with: portable_normal(("toybox", "p0001", 0, "initial", 0), (21, 16, 8, 8)).
    """
    noise = portable_normal(("toybox", "p0001", 0, "initial", 0), (21, 16, 8, 8))
    assert noise.dtype == np.float32
    assert noise.ravel()[[0, 1, 2, -1]].tolist() == [
        -0.021276675164699554, 1.0075106620788574, 1.1442108154296875, -0.06475638598203659,
    ]  # fmt: skip


def test_portable_key_is_the_documented_digest() -> None:
    """baselines/methods.md#portable-noise: the first 128 bits of sha256 of the JSON list; written out here so
    that other code can reproduce it.
    """
    digest = hashlib.sha256(b'["toybox","red_ball",1,"renoise",302]').digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    expected = generator.standard_normal((3, 4, 2, 2), dtype=np.float32)
    assert np.array_equal(portable(B).draw_renoise(3, 2, 3, None)[0].numpy(), expected)


def test_portable_noise_ignores_batch_order_and_method() -> None:
    """A sample's noise depends on its own key only: not on its batch, on earlier draws, or on a rolling
    window around it.
    """
    batch, single = portable(A, B, C), portable(B)
    renoised = batch.draw_renoise(5, 1, 3, JointWindow(15, 6))  # asked first, and through a window
    assert torch.equal(batch.initial()[1], single.initial()[0])
    assert torch.equal(renoised[1], single.draw_renoise(5, 1, 3, None)[0])
    assert torch.equal(portable(C, A).initial(), batch.initial()[[2, 0]])


def test_portable_draws_all_differ() -> None:
    """No two of suite, prompt, sample, purpose, chunk, step share a draw (chunk 0 step 0 and the start are
    easily confused).
    """
    draws = [
        portable(key, suite=suite).draw_renoise(c, k, 3, None)
        for suite in "st"
        for key in (A, B, C)
        for c in (0, 1)
        for k in (0, 1)
    ]
    draws += [portable(key, suite=suite).initial()[:, :3] for suite in "st" for key in (A, B, C)]
    values = torch.stack(draws).flatten(1)
    assert len(values.unique(dim=0)) == len(values)
    with pytest.raises(ValueError, match="at most 100 steps"):
        portable(A).draw_renoise(0, 100, 3, None)


def test_portable_noise_is_standard_normal() -> None:
    """Moments within 4 standard errors of 50 clips x 21 x 16 values, and no correlation between two
    samples of one prompt.
    """
    noise = PortableNoise(
        suite="s", samples=[SampleKey("p", i) for i in range(50)], shape=(21, 16, 1, 1)
    ).initial()
    count = noise.numel()
    assert abs(noise.mean().item()) < 4 / count**0.5
    assert abs(noise.var().item() - 1) < 4 * (2 / count) ** 0.5
    assert abs((noise**4).mean().item() - 3) < 4 * (96 / count) ** 0.5
    flat = noise.flatten(1)
    assert abs((flat[:-1] * flat[1:]).mean().item()) < 4 / flat[1:].numel() ** 0.5


def test_cast_comes_last() -> None:
    """bfloat16 noise is the float32 noise rounded."""
    half = PortableNoise(suite="toybox", samples=[A], shape=SHAPE, dtype=torch.bfloat16)
    assert torch.equal(half.initial(), portable(A).initial().to(torch.bfloat16))


def test_lcg_chain() -> None:
    """The two values of baselines/methods.md#noise."""
    assert lcg(20001019) == 469796120
    assert lcg(lcg(20001019)) == 492186481


def upstream(
    items: list[int], *, layout: str, dtype: torch.dtype, renoise_generator: str, extent: str, seed: int = 0
) -> UpstreamNoise:
    order = DrawOrder(
        seed=seed, layout=layout, dtype=dtype, renoise_generator=renoise_generator, extent=extent
    )  # type: ignore[arg-type]
    return UpstreamNoise(order, items, SHAPE)


def test_self_forcing_family_draws_from_one_generator_per_sample() -> None:
    """baselines/methods.md#chunked-rollout: bfloat16, frame-major, start and re-noise from the same generator
    seeded seed + index, not shared in a batch.
    """
    noise = upstream(
        [7, 3], layout="frame_major", dtype=torch.bfloat16, renoise_generator="same", extent="chunk"
    )
    start, first, second = (
        noise.initial(),
        noise.draw_renoise(0, 0, 3, None),
        noise.draw_renoise(0, 1, 3, None),
    )
    for row, item in enumerate((7, 3)):
        generator = torch.Generator().manual_seed(item)
        assert torch.equal(
            start[row], torch.randn(1, 21, 4, 2, 2, generator=generator, dtype=torch.bfloat16)[0]
        )
        for drawn in (first, second):
            assert torch.equal(drawn[row], torch.randn(3, 4, 2, 2, generator=generator, dtype=torch.bfloat16))


def test_raven_draws_channel_major_from_a_fork() -> None:
    """baselines/methods.md#noise: float32 [C, F, H, W] start; re-noise from a second generator seeded by the
    LCG of the sample's seed.
    """
    noise = upstream(
        [5],
        layout="channel_major",
        dtype=torch.float32,
        renoise_generator="forked",
        extent="chunk",
        seed=20001019,
    )
    drawn = noise.draw_renoise(0, 0, 3, None)
    fork = torch.Generator().manual_seed(lcg(20001019 + 5))
    assert torch.equal(drawn[0], torch.randn(4, 3, 2, 2, generator=fork).transpose(0, 1))
    main = torch.Generator().manual_seed(20001019 + 5)
    assert torch.equal(noise.initial()[0], torch.randn(4, 21, 2, 2, generator=main).transpose(0, 1))


def test_rolling_draws_whole_windows() -> None:
    """baselines/methods.md#rolling-forcing: the generator advances by the whole joint window, of which one
    block is used.
    """
    noise = upstream(
        [0], layout="frame_major", dtype=torch.bfloat16, renoise_generator="same", extent="window"
    )
    drawn = [noise.draw_renoise(block, 0, 3, JointWindow(12, 3 * block)) for block in (1, 2)]
    generator = torch.Generator().manual_seed(0)
    for block, part in zip((1, 2), drawn, strict=True):
        whole = torch.randn(12, 4, 2, 2, generator=generator, dtype=torch.bfloat16)
        assert torch.equal(part[0], whole[3 * block : 3 * block + 3])


@pytest.mark.parametrize("sizes", [(3,) * 7, (4, *[1] * 17), (1, *[4] * 5)])
def test_every_chunk_takes_its_own_frames_of_one_draw_a_step(sizes: tuple[int, ...]) -> None:
    """baselines/methods.md#causal-rcm, in closed form: draw k of the recording is 100 k + frame, draw 0 the
    start, so the noise of chunk c after step k is 100 (k + 1) + its frames. Four draws are taken in all, each
    of the whole clip, though later chunks take two steps; a fifth would be new.
    """
    frames = torch.arange(21.0)[:, None, None].expand(4, 21, 2, 2)
    draws = [frames[None], *(100 * k + frames for k in (1, 2, 3))]
    order = DrawOrder(
        seed=0, layout="channel_major", dtype=torch.float32, renoise_generator="same", extent="clip"
    )
    noise = UpstreamNoise.recorded(order, draws, SHAPE)
    assert noise.initial()[0, :, 0, 0, 0].tolist() == list(range(21))
    start = 0
    for c, size in enumerate(sizes):
        for step in range(1 if c else 3):
            found = noise.draw_renoise(c, step, size, JointWindow(21, start))
            assert found.shape == (1, size, *SHAPE[1:])
            expected = 100.0 * (step + 1) + torch.arange(start, start + size)
            assert torch.equal(found, expected[None, :, None, None, None].expand_as(found)), (c, step)
        start += size
    with pytest.raises(ValueError, match="holds 4 draws but draw number 5"):
        noise.draw_renoise(0, 3, sizes[0], JointWindow(21, 0))


def test_plain_sources() -> None:
    """GeneratorNoise draws in the order asked; TensorNoise hands out what it was given and says what it
    lacks.
    """
    noise = GeneratorNoise(generator=torch.Generator().manual_seed(1), batch=2, shape=SHAPE)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(noise.initial(), torch.randn(2, *SHAPE, generator=generator))
    assert torch.equal(noise.draw_renoise(0, 0, 3, None), torch.randn(2, 3, *SHAPE[1:], generator=generator))
    given = TensorNoise(start=torch.zeros(1, *SHAPE), draws={(0, 0): torch.ones(1, 3, *SHAPE[1:])})
    assert torch.equal(given.draw_renoise(0, 0, 3, None), given.draws[0, 0])
    with pytest.raises(ValueError, match="no draw for chunk 1 after step 0"):
        given.draw_renoise(1, 0, 3, None)
    with pytest.raises(ValueError, match="has 3 frames for chunk 0"):
        given.draw_renoise(0, 0, 1, None)


@pytest.mark.parametrize("sizes", [(3,) * 7, (1, 2, 18), (21,)])
def test_a_first_draw_in_pieces_is_the_whole_draw(sizes: tuple[int, ...]) -> None:
    """Guards against a long clip that begins otherwise than the short one, or than an earlier version's."""
    noise = portable(A, B)
    assert torch.equal(torch.cat(list(noise.initial_pieces(sizes)), dim=1), noise.initial())


def test_pieces_must_make_up_the_clip() -> None:
    with pytest.raises(ValueError, match="clips of 21 latent frames, but 20 are sampled"):
        next(portable(A).initial_pieces([20]))
