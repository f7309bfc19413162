"""Golden losses: 20 iterations of a small RAVEN run and 10 of CM-GRPO, so that no change of the objective
goes unnoticed.

Networks are float64 and eight digits are kept, which neither threads nor kinds of CPU move. After a
deliberate change: `python -m tests.models.test_golden_losses` remakes the files.
"""

from pathlib import Path

import pytest
import torch

from models.training.loop import Recipe
from tests.models.training_toys import dmd_settings, grpo_of, raven_of

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = {
    "raven": (20, ("fake_loss", "fake_grad_norm", "generator_loss", "teacher_distance", "student_grad_norm")),
    "cm_grpo": (10, ("reward", "reward_spread", "student_grad_norm")),
}


def lines(name: str) -> list[str]:
    """A header and one line an iteration; "-" where the student was not trained."""
    iterations, columns = RUNS[name]
    recipe: Recipe = (
        raven_of(dmd_settings(iterations=iterations), dtype=torch.float64)
        if name == "raven"
        else grpo_of(iterations=iterations, dtype=torch.float64)
    )
    made = [" ".join(columns)]
    for iteration in range(iterations):
        metrics = recipe.step(iteration, iteration / iterations)
        made.append(" ".join(f"{metrics[key]:.7e}" if key in metrics else "-" for key in columns))
    return made


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_the_golden_ones(name: str) -> None:
    assert lines(name) == (GOLDEN / f"{name}_losses.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    for run in RUNS:
        (GOLDEN / f"{run}_losses.txt").write_text("\n".join(lines(run)) + "\n", encoding="utf-8")
