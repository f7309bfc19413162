"""Solvers of the full-sequence rollout against numbers of Wan's own, closed forms and another library."""

import math

import pytest
import torch

from models.solvers import Solver, euler_solver, unipc_solver

SHIFT_8 = (
    "999 997 994 991 989 986 983 979 976 973 969 965 961 957 953 948 944 939 934 928 922 916 910 903 896 888 "
    "880 871 862 852 841 830 817 804 789 773 756 737 716 692 666 636 603 565 521 470 409 337 249 140"
)


def states(solver: Solver) -> list[list[float]]:
    """States after each step from (1, -0.5) under v = 0.3 x^2 + t / 1000."""
    x, taken, found = torch.tensor([1.0, -0.5]), solver.begin(), []
    for timestep in solver.timesteps:
        _, x = taken.step(x, 0.3 * x**2 + timestep / 1000)
        found.append(x.tolist())
    return found


def test_unipc_makes_the_states_of_wans_sampler() -> None:
    """Guards coefficients, orders at both ends and the truncated timesteps. Numbers of six digits."""
    four = states(unipc_solver(4, shift=8.0))
    expected = [(0.948003, -0.542991), (0.862305, -0.616872), (0.695598, -0.773919), (0.061533, -1.433086)]
    for found, wanted in zip(four, expected, strict=True):
        assert found == pytest.approx(wanted, abs=2e-6)
    fifty = states(unipc_solver(50, shift=8.0))
    assert fifty[0] == pytest.approx((0.996692, -0.502735), abs=2e-6)
    assert fifty[-1] == pytest.approx((0.381044, -1.280694), abs=2e-6)
    assert states(unipc_solver(50, shift=5.0))[-1] == pytest.approx((0.385518, -1.278035), abs=2e-6)


def test_grids_are_those_of_the_released_samplers() -> None:
    """Guards truncation (not rounding) of Wan's timesteps and bfloat16 of Causal-rCM's teacher."""
    solver = unipc_solver(50, shift=8.0)
    assert solver.timesteps == tuple(map(float, SHIFT_8.split()))
    assert solver.sigmas[:2] == pytest.approx((0.99987489, 0.99732846), abs=1e-8)
    assert solver.sigmas[-3:] == pytest.approx((0.24980465, 0.14022775, 0), abs=1e-8)
    told = euler_solver(50, shift=3.0, first="1600/1601").timesteps
    assert told[:6] == (1000, 992, 984, 980, 972, 964)
    assert told[-3:] == (160, 111, 57.5)


def test_a_straight_path_is_followed_exactly() -> None:
    """Where the clean prediction never changes, every solver ends in it, from its own first level on."""
    clean, noise = torch.tensor([0.25, -2.0]), torch.tensor([1.0, 0.5])
    for solver in (unipc_solver(7, shift=5.0), euler_solver(7, shift=3.0, first="1600/1601")):
        sigma = solver.sigmas[0]
        x, taken = (1 - sigma) * clean + sigma * noise, solver.begin()
        for _ in solver.timesteps:
            x0, x = taken.step(x, noise - clean)
            torch.testing.assert_close(x0, clean, atol=2e-6, rtol=0)
        torch.testing.assert_close(x, clean, atol=2e-6, rtol=0)


def test_unipc_is_of_second_order() -> None:
    """Half the step, a quarter of the error in the limit: v = -x ends at x_0 e^(sigma_0) in closed form."""
    errors = []
    for steps in (40, 80):
        solver = unipc_solver(steps, shift=1.0)
        x, taken = torch.tensor([1.0]), solver.begin()
        for _ in solver.timesteps:
            _, x = taken.step(x, -x)
        errors.append(abs(x.item() - math.exp(solver.sigmas[0])))
    assert errors[1] < errors[0] / 2.5


def test_unipc_is_that_of_diffusers() -> None:
    """An independent program of the same solver, given our noise levels and timesteps."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, solver_order=2, solver_type="bh2",
        lower_order_final=True, final_sigmas_type="zero",
    )  # fmt: skip
    ours = unipc_solver(12, shift=8.0)
    theirs.set_timesteps(12)
    theirs.sigmas = torch.tensor(ours.sigmas)
    theirs.timesteps = torch.tensor([int(t) for t in ours.timesteps])
    x, found = torch.tensor([[1.0, -0.5]]), []
    for timestep in theirs.timesteps:
        x = theirs.step(0.3 * x**2 + timestep / 1000, timestep, x, return_dict=False)[0]
        found.append(x[0].tolist())
    torch.testing.assert_close(torch.tensor(states(ours)), torch.tensor(found), atol=2e-6, rtol=0)
