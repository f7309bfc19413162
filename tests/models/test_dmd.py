"""Distribution matching: loss, chunk weights, phases, micro-batches, EMA."""

import pytest
import torch

from models.schedule import add_noise, to_x0
from models.training.chunk_weights import chunk_weights
from models.training.distributed import ALONE
from models.training.dmd import Scores, dmd_loss, fake_score_loss, generator_due
from models.training.flow_matching import euler_grid, follow
from models.training.loop import Trainee
from models.training.rollouts import consistency_rollout, replay
from models.training.settings import OptimizerSettings
from models.training.streams import Streams
from models.training.students import DiffusionForcing
from tests.models.training_toys import CHUNKS, CPU, SHAPE, dmd_settings, normal, raven_of, wan_of

SEVEN = (3,) * 7


def test_gradient_is_the_closed_form() -> None:
    """d loss / d x0 = weight (f - r) / norm / count, one norm per sample, no gradient through the norm."""
    x0, fake, real = (normal(3, *SHAPE, seed=n) for n in (1, 2, 3))
    x0.requires_grad_()
    weights = torch.arange(1.0, 9.0)
    result = dmd_loss(x0, fake, real, weights)
    result.loss.backward()
    norm = (x0.detach() - real).abs().mean((1, 2, 3, 4), keepdim=True)
    expected = weights[:, None, None, None] * (fake - real) / norm / x0.numel()
    assert x0.grad is not None
    torch.testing.assert_close(x0.grad, expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(result.normaliser, norm.flatten(), rtol=1e-12, atol=0)


def test_normaliser_is_clamped_where_student_meets_teacher() -> None:
    """x0 = r would divide by zero; the gradient is then (f - r) / norm_min / count."""
    x0 = normal(1, *SHAPE, seed=1).requires_grad_()
    fake = x0.detach() + 1.0
    dmd_loss(x0, fake, x0.detach(), torch.ones(8), norm_min=1e-5).loss.backward()
    assert x0.grad is not None
    torch.testing.assert_close(x0.grad, torch.full_like(x0, 1e5 / x0.numel()))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (-1.0, (0.386, 0.450, 0.540, 0.675, 0.900, 1.350, 2.700)),
        (None, (1,) * 7),
        (0, (1,) * 7),
        (1.0, (1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25)),
        ("ln_0_1", (0.256, 1.002, 1.449, 1.585, 1.449, 1.002, 0.256)),
        ("mode_-0.54", (1.395, 0.923, 0.799, 0.767, 0.799, 0.923, 1.395)),
        ("mode_0_81", (0.611, 0.796, 1.216, 1.754, 1.216, 0.796, 0.611)),
    ],
)
def test_chunk_weight_table(rule: float | str | None, expected: tuple[float, ...]) -> None:
    """The six published rules of models/training/methods.md#chunk-weights, to 3 decimals."""
    assert chunk_weights(SEVEN, rule) == pytest.approx(expected, abs=6e-4)


def test_chunk_weights_keep_the_element_count() -> None:
    """Also with a first chunk of another length; unknown rules are refused by name."""
    chunks = (1, 3, 3, 2)
    for rule in (-1.0, 2.5, "ln_0_1", "mode_0.81"):
        assert sum(w * n for w, n in zip(chunk_weights(chunks, rule), chunks, strict=True)) == pytest.approx(
            9
        )
    with pytest.raises(ValueError, match="'cosine_1' is unknown"):
        chunk_weights(chunks, "cosine_1")


def test_fake_score_loss_is_zero_for_the_true_velocity() -> None:
    """The target is noise - endpoint at x_t; a network that answered exactly that would have loss 0."""
    clean, noise, t = normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2), torch.tensor([300.0, 900.0])
    x = add_noise(clean, noise, t / 1000)
    torch.testing.assert_close(to_x0(x, noise - clean, t / 1000), clean, rtol=1e-12, atol=1e-12)
    fake = wan_of(0, torch.float64)
    v = fake(x, t[:, None].expand(-1, 8), fake.embed_text(normal(2, 6, 8)))
    expected = (v - (noise - clean)).square().mean()
    torch.testing.assert_close(
        fake_score_loss(fake, clean, noise, t, normal(2, 6, 8)), expected, rtol=1e-12, atol=0
    )


def test_phases_touch_only_their_models() -> None:
    """Fake phase changes the fake score alone; iterations 2, 4, ... also the student; the teacher never."""
    recipe = raven_of(dmd_settings())
    nets = {"student": recipe.wan, "fake": recipe.scores.network, "teacher": recipe.scores.teacher}

    def snapshot() -> dict[str, list[torch.Tensor]]:
        return {name: [value.clone() for value in net.state_dict().values()] for name, net in nets.items()}

    assert [generator_due(i, 2) for i in range(4)] == [False, True, False, True]
    for iteration, expected in ((0, {"fake"}), (1, {"fake", "student"})):
        before = snapshot()
        recipe.step(iteration, 0.0)
        after = snapshot()
        changed = {
            name
            for name in nets
            if any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
        }
        assert changed == expected
        assert all(value.grad is None for net in nets.values() for value in net.parameters())


def test_slices_do_not_change_the_gradient() -> None:
    """Four samples in one slice or in four draw the same numbers and give the same student gradient (float32
    rounding).
    """
    recipe = raven_of(dmd_settings())
    text, found = recipe.texts[:4], []
    for micro_batches in (ALONE.split(4, 1), ALONE.split(4, 4)):
        total = torch.zeros(())
        for samples in micro_batches:
            rows = text[samples.start : samples.stop]
            x0 = recipe.predict(9, samples, recipe.roll_out(9, samples, rows), rows)
            total = total + recipe.scores.generator_loss(9, samples, x0, rows).loss * len(samples) / 4
        found.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(total, list(recipe.wan.parameters()))])
        )
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_slices_do_not_change_the_fake_score_step() -> None:
    """Its gradients are added up over micro-batches with the right weights; the norm it steps with is the
    same.
    """
    norms = [raven_of(dmd_settings(micro_batches=n)).step(0, 0.0)["fake_grad_norm"] for n in (1, 2, 4)]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_moving_average_is_the_closed_form() -> None:
    """Equal to the model at step 0, then sum of decay^(n - i) (1 - decay) theta_i."""
    layer = torch.nn.Linear(2, 1, bias=False)
    trainee = Trainee("student", layer, OptimizerSettings(lr=0.1), ema_decay=0.75)
    expected = layer.weight.detach().clone()
    assert torch.equal(trainee.ema_state()["weight"], layer.weight)
    for iteration in range(5):
        (layer.weight.square().sum() + layer.weight.sum()).backward()
        trainee.step(iteration, 0.0)
        expected = 0.75 * expected + 0.25 * layer.weight.detach()
    torch.testing.assert_close(trainee.ema_state()["weight"], expected)


def test_teacher_forcing_on_own_rollout_is_raven() -> None:
    """Replaying states made by hand from data equals the rollout's replay when the data are its endpoints and
    states.
    """
    recipe = raven_of(dmd_settings())
    text = recipe.texts[:2]
    rolled = recipe.roll_out(0, range(2), text)
    t = torch.tensor([833.0, 833.0])
    made = replay(recipe.wan, rolled.states[2], rolled.endpoints, t, text, recipe.settings)
    torch.testing.assert_close(made, rolled.x0[2], rtol=1e-5, atol=1e-5)


def test_diffusion_forcing_gives_each_chunk_its_own_level() -> None:
    """Equals one block-causal forward at those timesteps; clean chunks stay as they are and carry no
    gradient.
    """
    settings = dmd_settings()
    steps = consistency_rollout(settings.timesteps, CHUNKS).schedule.steps
    data, student = normal(4, *SHAPE, dtype=torch.float32), wan_of(1)
    texts = normal(4, 6, 8, dtype=torch.float32)
    streams = Streams(seed=3, device=CPU)
    scores = Scores(wan_of(2), wan_of(3), settings, streams)
    recipe = DiffusionForcing(student, scores, data, texts, steps, settings, streams)
    x0 = recipe.predict(0, range(4), data, texts)
    index = recipe.streams.choice("chunk level", 0, range(4), 5, 4)
    assert len(index.unique()) > 2, "the draw should mix levels"
    noise = recipe.streams.normal("data noise", 0, range(4), SHAPE)
    t = torch.tensor([*settings.timesteps, 0.0])[index].repeat_interleave(2, dim=1)
    x = add_noise(data, noise, t / 1000)
    torch.testing.assert_close(
        x0, to_x0(x, student.block_causal(x, t, student.embed_text(texts), chunks=CHUNKS), t / 1000)
    )
    torch.testing.assert_close(x0[t == 0], data[t == 0])


def test_euler_follows_a_known_flow_through_the_wanted_levels() -> None:
    """The straight flow from noise to a fixed point is integrated exactly by any grid; every wanted level is
    on the grid.
    """
    grid = euler_grid(12, 5.0, (0.938, 0.625))
    assert (
        grid[0] == 1.0
        and grid[-1] == 0.0
        and grid == sorted(grid, reverse=True)
        and {0.938, 0.625} <= set(grid)
    )
    noise, target = normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2)
    states = follow(lambda x, t: (x - target) / (t[:, None, None, None, None] / 1000), noise, grid)
    torch.testing.assert_close(states[0.0], target, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(states[0.625], 0.375 * target + 0.625 * noise, rtol=1e-6, atol=1e-6)
