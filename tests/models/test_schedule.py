"""Schedules against the lists of models/backbone.md#noise-schedule and closed forms."""

import pytest
import torch

from models.rope import rotation
from models.schedule import Schedule, build_schedule, sigma_table, training_timesteps
from models.training.rollouts import consistency_rollout


def upstream(steps: list[int], shift: float, warp: bool) -> Schedule:
    """A schedule in the form of the six baselines."""
    return build_schedule(
        steps, shift=shift, warp=warp, timestep_dtype="float32" if warp else "int64", sigma="table",
        x0_dtype="float64", add_noise_dtype="float32",
    )  # fmt: skip


RAVEN = build_schedule(
    [1000, 750, 500, 250], shift=5.0, warp=True, timestep_dtype="int64", sigma="timestep",
    x0_dtype="float32", add_noise_dtype="float32",
)  # fmt: skip

GOLDEN = [
    # steps, shift, warp, timesteps, table rows, sigmas: models/backbone.md#noise-schedule
    ([1000, 750, 500, 250], 5.0, True, (1000, 937.5, 833.3333129882812, 625), (0, 250, 500, 750), (1, 0.9375,
     0.833333313, 0.625)),
    (
        [1000, 800, 600, 400, 200], 5.0, True,
        (1000, 952.3810424804688, 882.3529052734375, 769.2307739257812, 555.5556030273438),
        (0, 200, 400, 600, 800), (1, 0.952381015, 0.882352889, 0.769230783, 0.555555582),
    ),
    ([1000, 757, 522], 8.0, False, (1000, 757, 522), (0, 720, 880), (1, 0.756756723, 0.521739125)),
    (
        [1000, 750, 500, 250], 8.0, True, (1000, 960, 888.888916015625, 727.2727661132812),
        (0, 250, 500, 750), (1, 0.959999979, 0.888888896, 0.727272749),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "shift", "warp", "timesteps", "rows", "sigmas"), GOLDEN)
def test_golden_table(
    steps: list[int],
    shift: float,
    warp: bool,
    timesteps: tuple[float, ...],
    rows: tuple[int, ...],
    sigmas: tuple[float, ...],
) -> None:
    """Every list of models/backbone.md#noise-schedule, timesteps to the last float32 bit; catches t/1000 in
    place of CausVid's lookup (757).
    """
    with torch.device(
        "meta"
    ):  # no number may be computed on the default device: a GPU rounds 833 / 1000 otherwise
        schedule = upstream(steps, shift, warp)
    assert schedule.timesteps == timesteps
    assert tuple(map(sigma_table(shift).sigmas.tolist().index, schedule.sigmas)) == rows
    assert schedule.sigmas == tuple(torch.tensor(sigmas, dtype=torch.float32).tolist())


def test_raven_steps_are_rounded_integers() -> None:
    """models/backbone.md#noise-schedule: 937.5 rounds half to even to 938, and sigma is t / 1000 in float32,
    not the table's .9375.
    """
    assert RAVEN.timesteps == (1000, 938, 833, 625)
    assert RAVEN.sigmas == tuple(torch.tensor([1, 0.938, 0.833, 0.625], dtype=torch.float32).tolist())


def test_no_table_depends_on_the_default_device() -> None:
    """Guards against schedules and rotations that differ between a program that runs on a GPU by default and
    one that does not.
    """
    with torch.device("meta"):
        made = consistency_rollout((1000, 938, 833, 625), (3, 3))
        turn = rotation(range(2), 3, 4, (4, 2, 2), torch.float64, torch.device("cpu"))
    assert made.schedule.sigmas == RAVEN.sigmas
    assert torch.equal(turn.cos, rotation(range(2), 3, 4, (4, 2, 2), torch.float64, torch.device("cpu")).cos)


def test_table_ends() -> None:
    """models/backbone.md#noise-schedule: pure noise first, no exact zero at the end."""
    assert sigma_table(5.0).sigmas[0] == 1
    assert sigma_table(5.0).sigmas[999].item() == pytest.approx(0.00498, abs=1e-5)
    assert sigma_table(8.0).sigmas[999].item() == pytest.approx(0.00794, abs=1e-5)


def test_x0_inverts_renoise() -> None:
    """Closed form: with the true velocity, x0 comes back from every noise level. Tolerance: float32
    rounding of values near 4.
    """
    generator = torch.Generator().manual_seed(1)
    x0, noise = torch.randn(2, 2, 3, 4, 2, 2, generator=generator)
    for schedule in (RAVEN, upstream([1000, 757, 522], 8.0, False)):
        for step in range(schedule.num_steps):
            x = schedule.add_noise(x0, noise, step)
            torch.testing.assert_close(schedule.to_x0(x, noise - x0, step), x0, rtol=0, atol=1e-6)
        assert torch.equal(schedule.add_noise(x0, noise, schedule.num_steps), x0)


def test_frames_may_stand_at_different_steps() -> None:
    """Rolling windows mix steps in one call; each frame must get its own sigma and timestep."""
    schedule = upstream([1000, 800, 600, 400, 200], 5.0, True)
    steps = (4, 4, 2, 0)
    x, v = torch.randn(2, 2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    joint, mixed = schedule.to_x0(x, v, steps), schedule.add_noise(x, v, steps)
    for frame, step in enumerate(steps):
        assert torch.equal(
            joint[:, frame], schedule.to_x0(x[:, frame : frame + 1], v[:, frame : frame + 1], step)[:, 0]
        )
        assert torch.equal(
            mixed[:, frame], schedule.add_noise(x[:, frame : frame + 1], v[:, frame : frame + 1], step)[:, 0]
        )
    timesteps = schedule.frame_timesteps(steps, 2, torch.device("cpu"))
    assert timesteps.tolist() == [[schedule.timesteps[step] for step in steps]] * 2


def test_bfloat16_latents_are_rounded_once() -> None:
    """baselines/methods.md#chunked-rollout: x0 in float64 and re-noise in float32, one rounding each; bf16
    arithmetic differs, which this would catch.
    """
    schedule = upstream([1000, 750, 500, 250], 5.0, True)
    generator = torch.Generator().manual_seed(3)
    x, v = torch.randn(2, 1, 3, 16, 8, 8, generator=generator).to(torch.bfloat16)
    sigma = torch.tensor(0.833333313, dtype=torch.float32)
    expected_x0 = (x.double() - sigma.double() * v.double()).to(torch.bfloat16)
    expected_mix = ((1 - sigma) * x.float() + sigma * v.float()).to(torch.bfloat16)
    assert torch.equal(schedule.to_x0(x, v, 2), expected_x0)
    assert torch.equal(schedule.add_noise(x, v, 2), expected_mix)
    assert not torch.equal(x - sigma.to(torch.bfloat16) * v, expected_x0)


def test_transition_is_the_consistency_kernel() -> None:
    """models/backbone.md#consistency-sampler, its deviations and derivatives; the last transition has no
    density; every sample has its own step.
    """
    x0 = torch.ones(4, 3, 2, 2, 2)
    kernel = RAVEN.transition(torch.full_like(x0, 7.0), x0, torch.arange(4))
    assert [round(std, 3) for std in kernel.std.flatten().tolist()] == [0.938, 0.833, 0.625, 0.0]
    slope = kernel.mean - RAVEN.transition(x0, x0 - 1, torch.arange(4)).mean
    assert [round(one, 3) for one in slope[:, 0, 0, 0, 0].tolist()] == [0.062, 0.167, 0.375, 1.0]
    noise = torch.full_like(x0, 0.5)
    for step in range(3):
        drawn = RAVEN.advance(x0, x0, noise, step)
        torch.testing.assert_close((kernel.mean + kernel.std * noise)[step], drawn[step])


def test_training_timesteps_follow_the_shifted_uniform() -> None:
    """models/backbone.md#training-timesteps: integers in 20..980 whose distribution function is the inverse
    shift (4 standard errors of 20000 draws).
    """
    t = training_timesteps(20000, generator=torch.Generator().manual_seed(4))
    assert t.dtype == torch.int64
    assert t.min() >= 20
    assert t.max() <= 980
    for threshold in (200, 500, 800):
        y = ((threshold + 0.5) / 1000 - 0.02) / 0.96
        expected = y / (5 - 4 * y)  # inverse of 5u / (1 + 4u)
        assert (t <= threshold).double().mean().item() == pytest.approx(expected, abs=4 * 0.5 / 20000**0.5)


@pytest.mark.parametrize("steps", [[], [1000, 1000], [500, 750], [1001, 500], [1000, 0]])
def test_bad_step_lists_are_refused(steps: list[int]) -> None:
    """A trailing 0 (CausVid's file has one) or an unsorted list must not become a step."""
    with pytest.raises(ValueError, match="must fall strictly"):
        upstream(steps, 5.0, True)
