"""The main job on the generated patient: preprocess, detect, score, picture."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli import api
from braincli.config import DemoConfig, DetectConfig, ScoreConfig
from braincli.imaging.cases import Case, Contrast
from braincli.keywords import configured, takes
from braincli.layout.found import FoundNames, names_of
from braincli.model.folder import read_info
from braincli.model.search import locate
from braincli.phantom.patient import CASE, Patient, generate, plan
from braincli.runtime import files
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    from braincli.detection.run import DetectReport
    from braincli.scoring.report import ScoreReport

GENERATED = (
    "This patient is generated: the SRI24 atlas, deformed, with a planted tumour. It shows what braincli does, "
    "not how well it does on real scans."
)


@dataclass(frozen=True)
class DemoReport:
    """What the demo made.

    Attributes:
        patient: the scans and the known masks.
        detection, scores: of the main job; the mask is scored on the grid of the FLAIR scan.
        mask: the scored mask.
        picture: inputs, restoration, anomaly map, mask and reference. page: the same to look through.
        seconds: wall time.
    """

    patient: Patient
    detection: DetectReport
    scores: ScoreReport
    mask: Path
    picture: Path
    page: Path
    seconds: float

    def _repr_html_(self) -> str:
        return self.detection._repr_html_()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; base names only."""
        return {
            "notice": GENERATED,
            "tumour_ml": self.patient.volume_ml,
            "detection": self.detection.as_dict(),
            "scores": self.scores.as_dict(),
            "mask": self.mask.name,
            "picture": self.picture.name,
            "page": self.page.name,
            "seconds": self.seconds,
        }


@takes(DemoConfig)
def run(
    output: Path | str, config: DemoConfig | None = None, reporter: Reporter | None = None, **given: Any
) -> DemoReport:
    """Generate the patient in ``output`` and work through it as through any raw case.

    Args:
        output: folder for the four scans (each on its own grid, int16), the known masks, and what is found.
        given: options of :class:`braincli.config.DemoConfig`; ``model`` is a name, a folder, or a loaded model.

    Raises:
        UsageError: an output exists and ``overwrite`` is false.
        ModelError: the model is missing or damaged.

    Example:
        >>> braincli.demo("demo/").scores.cases[0].values["dsc"]
    """
    output, reporter, begin = Path(output), reporter or Reporter(), time.perf_counter()
    demo, loaded = configured(DemoConfig, config, given)
    options = DetectConfig(**demo.model_dump(), preprocess=True, anomaly_map=True)
    names = found(output, read_info(locate(demo.model)).name)
    refuse(output, names, options)
    reporter.say(GENERATED)
    patient = generate(output, seed=demo.seed, overwrite=demo.overwrite, report=reporter)
    case = Case(CASE, patient.scans, lesion=patient.lesion)
    detection = api.detect(case, output / "detect", options, reporter, model=loaded or demo.model)
    mask = names.volume("mask", Contrast.FLAIR)
    scores = api.score(
        mask, patient.lesion, output / "scores", ScoreConfig(overwrite=demo.overwrite), reporter,
        anomaly=names.volume("anomaly", Contrast.FLAIR),
    )  # fmt: skip
    seconds = round(time.perf_counter() - begin, 1)
    return DemoReport(patient, detection, scores, mask, names.picture(), names.report(), seconds)


def found(output: Path, model: str) -> FoundNames:
    """Where the results go."""
    return names_of(CASE, {}, output / "detect", model, raw=True)


def refuse(output: Path, names: FoundNames, config: DetectConfig) -> None:
    """Raise before any work is done if a file of the demo exists and may not be replaced.

    Raises:
        UsageError: it does.
    """
    patient = plan(output)
    for path in (*patient.scans.values(), patient.lesion, patient.lesion_sri24, names.record()):
        files.refuse_overwrite(path, overwrite=config.overwrite)
