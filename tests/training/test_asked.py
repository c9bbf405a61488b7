"""What a training with --init takes over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from braincli.errors import UsageError
from braincli.methods import registry
from braincli.training.asked import take_over


def test_a_network_that_the_first_model_lacks_begins_fresh() -> None:
    """So a model gets the network that suspects without being trained again as a whole."""
    settings: dict[str, Any] = {"suspect": None}
    before = registry.build("tsgm", preset="tiny", settings=settings, size=(32, 24))
    begun: Any = SimpleNamespace(info=SimpleNamespace(name="first"), method=before)
    method = registry.build("tsgm", preset="tiny", size=(32, 24))
    fresh = {name: value.clone() for name, value in method.state_dict().items()}
    take_over(method, begun)
    after = method.state_dict()
    kept = {name for name in before.state_dict() if not name.startswith("discriminator_")}  # no folder holds those
    assert all(torch.equal(after[name], before.state_dict()[name]) for name in kept)
    assert all(torch.equal(after[name], value) for name, value in fresh.items() if name.startswith("suspect."))
    assert any(name.startswith("suspect.") for name in fresh)


def test_a_network_of_which_the_first_model_has_a_part_is_refused() -> None:
    before = registry.build("vae", preset="tiny", size=(32, 24))
    some = dict(list(before.state_dict().items())[:-1])
    begun: Any = SimpleNamespace(info=SimpleNamespace(name="first"), method=SimpleNamespace(state_dict=lambda: some))
    with pytest.raises(UsageError, match="first lacks"):
        take_over(registry.build("vae", preset="tiny", size=(32, 24)), begun)
