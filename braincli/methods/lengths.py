"""How long a stage is: a number of steps, or epochs as papers give them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Epochs(BaseModel):
    """A length that follows the size of the cohort.

    Attributes:
        number: of epochs.
        of: what an epoch goes through: every one of the ``slices``, or one slice of each of the ``cases``, where a
            batch that is not full is left out (Behrendt et al. 2023: 358 cases in batches of 32 are 11 steps).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=0)
    of: Literal["slices", "cases"] = "slices"

    def steps(self, slices: int, cases: int, batch: int) -> int:
        """Steps of ``batch`` slices each, for so many slices of so many cases; at least one in an epoch of cases."""
        if self.of == "cases":
            return self.number * max(1, cases // batch)
        return -(-self.number * slices // batch)

    def __str__(self) -> str:
        return f"{self.number} epochs of " + ("one slice per case" if self.of == "cases" else "all slices")


Length = int | Epochs  # of a stage
DecayName = Literal["constant", "cosine", "linear", "step", "half-linear"]  # see training.lengths.rate
Decay = DecayName | dict[str, DecayName]  # of all stages, or by stage: those that are not named are constant
