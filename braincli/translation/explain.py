"""``explain``: prepared cases in, saliency and class activation maps of a model's classifier out (Simonyan et al. 2014;
Zhou et al. 2016; Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from braincli.detection.restore import Given, over_slices
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.slices import Slices
from braincli.imaging.volume import Volume
from braincli.methods import registry
from braincli.methods.base import Method, Tick, Verdict
from braincli.model.folder import LoadedModel
from braincli.networks.attribution import attributions
from braincli.runtime import cohort
from braincli.runtime.progress import Reporter
from braincli.translation.options import ExplainConfig
from braincli.translation.pictures import maps
from braincli.translation.work import Done, Job, Ready, inputs_of, refuse_model

KINDS = ["saliency.nii.gz", "cam.nii.gz", "explain.tsv", "explain.png"]


@dataclass(frozen=True)
class Explanation:
    """What in a case a classifier looks at; volumes on the scan's own grid.

    Attributes:
        values: (S,) what the classifier says of each slice; ``name`` says what that is.
        saliency, activation: float32 in [0, 1]: shares of the case's largest value, which ``largest`` holds.
    """

    images: Mapping[Contrast, Volume]
    brain: Volume
    slices: Slices
    name: str
    values: np.ndarray
    saliency: Volume
    activation: Volume
    largest: dict[str, float]


def explain_cases(
    cases: Sequence[Case], out: Path, config: ExplainConfig, reporter: Reporter, *, model: LoadedModel | None = None
) -> list[Done]:
    """Explain ``cases``; each gets a folder below ``out``.

    Args:
        model: in memory, instead of the one that ``config`` names.

    Raises:
        UsageError: an output exists.
        ModelError: no such model, or one that holds no classifier.
        CohortError: several cases, some of which failed; it lists them, ``outcomes`` holds what came of each.
    """
    job = ExplainJob(config, reporter, model)
    job.verdict()
    return cohort.results(cohort.each(cases, lambda case: job.run(case, out), reporter))


@dataclass
class ExplainJob(Job):
    """Explains case by case."""

    config: ExplainConfig

    def verdict(self) -> Verdict:
        """The classifier of the model.

        Raises:
            ModelError: it holds none.
        """
        verdict = self.model.method.verdict()
        if verdict is None:
            able = [name for name in registry.METHODS if registry.method_class(name).verdict is not Method.verdict]
            raise refuse_model(self.model, "holds no classifier of slices", able)
        return verdict

    def run(self, case: Case, out: Path) -> Done:
        """Explain one case, or skip it where ``resume`` finds it complete."""
        record = self.record("explain", case)
        outputs = self.outputs(record, case, out, KINDS, inputs_of(case))
        with outputs.locked():
            if self.config.resume and outputs.transaction.is_done():
                return Done(case.id, "skipped", outputs.folder)
            outputs.transaction.refuse()
            with record.timed("read"):
                ready = self.sliced(case)
            record.warnings += ready.warnings
            for text in record.warnings:
                self.reporter.warn(f"{case.id}: {text}")
            with record.timed("explain"):
                made = self._explained(case, ready)
            highest = int(made.values.argmax())
            reading = {
                "value": made.name, "mean": round(float(made.values.mean()), 4),
                "highest": round(float(made.values[highest]), 4), "slice": int(made.slices.index[highest]),
            }  # fmt: skip
            record.facts |= {"method": self.model.info.method, "reading": reading, "largest": made.largest}
            outputs.transaction.begin()
            with record.timed("write"):
                outputs.volume(made.saliency, "saliency.nii.gz")
                outputs.volume(made.activation, "cam.nii.gz")
                outputs.table(table(made), "explain.tsv")
                if self.config.figure:
                    title = f"{case.id}  (model {self.model.info.name})"
                    picture = maps(
                        made.images, made.brain, made.slices, made.values, made.name,
                        {"class activation map": made.activation, "saliency": made.saliency}, title,
                    )  # fmt: skip
                    outputs.picture(picture, "explain.png")
            outputs.transaction.finish()
        return Done(case.id, "done", outputs.folder, reading, list(record.warnings))

    def _explained(self, case: Case, ready: Ready) -> Explanation:
        verdict, config, slices = self.verdict(), self.config, ready.slices

        def ask(given: Given, rows: np.ndarray, tick: Tick) -> dict[str, Tensor | None]:
            value, saliency, activation = attributions(verdict.value, verdict.features, given["image"])
            tick()
            return {"value": value, "saliency": saliency, "cam": activation}

        parts, _ = over_slices(  # in float32: gradients of bfloat16 are coarse, and this is quick
            slices, self.model, ask, title=f"explain {case.id}", batch=config.batch, on_oom=config.on_oom,
            reporter=self.reporter,
        )  # fmt: skip
        largest = {}
        for name in ("saliency", "cam"):
            parts[name] = parts[name] * slices.brain
            largest[name] = float(parts[name].max())
            parts[name] /= largest[name] or 1.0
        saliency, activation = (slices.to_volume(parts[name][:, 0]) for name in ("saliency", "cam"))
        return Explanation(
            ready.images, ready.brain, slices, verdict.name, parts["value"], saliency, activation, largest
        )  # fmt: skip


def table(made: Explanation) -> str:
    """What the classifier says of each slice, as TSV."""
    lines = [f"slice\t{made.name}"]
    lines += [f"{number}\t{value:.4f}" for number, value in zip(made.slices.index, made.values, strict=True)]
    return "\n".join(lines) + "\n"
