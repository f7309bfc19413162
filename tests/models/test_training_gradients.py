"""Where gradients of the training-time test go: into the history, nowhere else, never through sampling."""

import torch
from torch import Tensor

from models.noise import GeneratorNoise
from models.schedule import to_x0
from models.training.rollouts import consistency_rollout, predictions_with_gradient, trajectory
from models.wan import Wan
from tests.models.training_toys import CHUNKS, SHAPE, normal, wan_of

F64 = torch.float64
TIMES = (1000.0, 938.0, 833.0, 625.0)


def interleaved(wan: Wan, noisy: Tensor, clean: Tensor, text: Tensor, window: int | None = None) -> Tensor:
    t = torch.full(noisy.shape[:2], 833.0, dtype=F64)
    return wan.interleaved(noisy, clean, t, wan.embed_text(text), chunks=CHUNKS, window=window)


def test_loss_of_a_chunk_reaches_exactly_the_clean_chunks_before_it() -> None:
    """Guards the mask and the routing of gradients into the history; zeros must be exact."""
    wan = wan_of(0, F64)
    for k in range(4):
        noisy, clean = normal(1, *SHAPE, seed=1).requires_grad_(), normal(1, *SHAPE, seed=2).requires_grad_()
        interleaved(wan, noisy, clean, normal(1, 4, 8, seed=3))[
            :, 2 * k : 2 * k + 2
        ].square().sum().backward()
        assert noisy.grad is not None and clean.grad is not None
        for j in range(4):
            into_clean, into_noisy = (
                clean.grad[:, 2 * j : 2 * j + 2].abs().sum(),
                noisy.grad[:, 2 * j : 2 * j + 2].abs().sum(),
            )
            assert (into_clean > 0) == (j < k), f"chunk {k} on clean {j}: {into_clean}"
            assert (into_noisy > 0) == (j == k), f"chunk {k} on noisy {j}: {into_noisy}"


def parameter_gradients(wan: Wan, loss: Tensor) -> Tensor:
    """One vector; parameters the loss does not reach count as zero (cross-attention of clean tokens in the
    last layer).
    """
    found = torch.autograd.grad(loss, list(wan.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(wan.parameters(), found, strict=True)
        ]
    )


def test_gradient_equals_full_back_propagation_through_the_history() -> None:
    """The reference runs every chunk on its own, its clean history in the same block-causal call."""
    wan = wan_of(0, F64)
    noisy, clean, text = normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2), normal(2, 4, 8, seed=3)
    weights = normal(2, *SHAPE, seed=4)
    ours = parameter_gradients(wan, (interleaved(wan, noisy, clean, text) * weights).sum())
    full = torch.zeros((), dtype=F64)
    for k in range(4):
        x = torch.cat([clean[:, : 2 * k], noisy[:, 2 * k : 2 * k + 2]], dim=1)
        t = torch.zeros(2, 2 * k + 2, dtype=F64)
        t[:, 2 * k :] = 833.0
        v = wan.block_causal(x, t, wan.embed_text(text), chunks=CHUNKS[: k + 1])[:, 2 * k :]
        full = full + (v * weights[:, 2 * k : 2 * k + 2]).sum()
    # RMSNorm computes in float32 inside, hence 1e-5 and not 1e-12
    torch.testing.assert_close(ours, parameter_gradients(wan, full), rtol=1e-4, atol=1e-5)


def test_self_forcing_history_is_detached() -> None:
    """Equal gradients for one chunk, different ones as soon as there is a history."""
    wan, text = wan_of(0), normal(1, 4, 8, seed=3, dtype=torch.float32)
    for chunks, same in (((2,), True), ((2, 2), False)):
        shape = (sum(chunks), 4, 4, 4)
        rollout = consistency_rollout(TIMES[:1], chunks)
        records = list(rollout.run(wan, text, noise_of(shape), grad_at=0))
        x0 = predictions_with_gradient(records)
        cached = parameter_gradients(wan, x0.square().sum())
        noisy = noise_of(shape).initial()
        t = torch.full((1, sum(chunks)), 1000.0)
        v = wan.interleaved(noisy, x0.detach(), t, wan.embed_text(text), chunks=chunks)
        replayed = parameter_gradients(wan, to_x0(noisy, v, t / 1000).square().sum())
        difference = float((cached - replayed).norm() / replayed.norm())
        assert (difference < 1e-5) == same, f"{len(chunks)} chunks: relative difference {difference}"


def noise_of(shape: tuple[int, int, int, int]) -> GeneratorNoise:
    return GeneratorNoise(generator=torch.Generator().manual_seed(5), batch=1, shape=shape)


def test_rollouts_of_training_carry_no_gradient() -> None:
    """Endpoints and trajectory are constants, even when the network is in training."""
    wan = wan_of(0)
    rolled = trajectory(
        consistency_rollout(TIMES, CHUNKS).run(wan, normal(1, 4, 8, dtype=torch.float32), noise_of(SHAPE)), 4
    )
    assert not rolled.states.requires_grad and not rolled.endpoints.requires_grad
    assert rolled.states.shape == (4, 1, *SHAPE) and torch.equal(rolled.endpoints, rolled.x0[3])
