"""Whether a method's predictions depend on chance is what it says: ``detect --samples`` relies on it."""

from __future__ import annotations

import pytest
import torch

from braincli.methods import registry

SIZE = (32, 24)


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_predictions_depend_on_chance_as_the_method_says(name: str) -> None:
    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", channels=4, size=SIZE).eval()
    with torch.no_grad():  # untrained networks end in zeros, which hide what comes before
        for parameter in method.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    rows = 2 * method.sequence
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    brain = (y**2 + x**2 < 0.8).expand(rows, 1, *SIZE)
    image = (0.5 + 0.2 * torch.sin(5 * y + 3 * x)) * brain.expand(rows, 4, *SIZE)

    def predict(seed: int) -> torch.Tensor:
        with torch.inference_mode():
            prediction = method.predict(
                image, brain, [torch.Generator().manual_seed(100 * seed + row) for row in range(rows)]
            )
        return torch.cat(prediction.maps, dim=1)

    assert torch.equal(predict(0), predict(1)) != method.config.stochastic
