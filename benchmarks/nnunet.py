"""nnU-Net (Isensee et al. 2021, Nat Methods 18:203) as a row of the leaderboard: a rival from outside.

    pip install nnunetv2                            # into an environment of its own; --nnunet VENV/bin finds it there
    python benchmarks/nnunet.py convert tumour/train --val tumour/val --out work/nnunet
    python benchmarks/nnunet.py train --out work/nnunet --minutes 25 --device cpu --threads 1
    python benchmarks/nnunet.py predict --out work/nnunet --device cpu
    python benchmarks/nnunet.py row --out work/nnunet --board work/
    python benchmarks/leaderboard.py --out work/ --only-table

``convert`` writes a cohort (case folders or a manifest) as nnU-Net's raw data set: contrasts as channels, lesion or not
as labels, RAS, what is not brain 0; with ``--mm`` on a coarser grid, as the compact presets see their slices. ``train``
lets nnU-Net plan, and train on all converted cases for ``--minutes`` of compute time (``nnunet_trainer/budget.py``).
``predict`` brings masks and probabilities back to each scan's own grid, below OUT/found/<case>/, where ``braincli
score`` reads them, too. ``row`` writes ``BOARD/nnunet/result.json``: figures as of every other row, but that nothing is
calibrated: the mask is nnU-Net's own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunet_data import back, channels, labels, named, probability, reference

from braincli import __version__
from braincli.calibration import crossfit
from braincli.calibration.evidence import Evidence
from braincli.errors import BraincliError, InputError, ModelError, UsageError
from braincli.imaging.cases import CONTRASTS, Case, Contrast, find_cases, sound
from braincli.imaging.slices import SliceSpec, load_case
from braincli.imaging.volume import Volume, load, mask_on_grid_of, reorient, save
from braincli.runtime import files
from braincli.runtime.progress import PlainReporter

SAY = PlainReporter()
DATASET = "Dataset501_braincli"
TRAINER = "BudgetTrainer"
TRAINERS = Path(__file__).resolve().parent / "nnunet_trainer"
KEY = "cases.json"  # what became of which case
NOT_INSTALLED = (
    "Install it into an environment of its own (python -m venv VENV; VENV/bin/pip install nnunetv2) and say "
    "--nnunet VENV/bin, or put that folder on the PATH."
)


@dataclass(frozen=True)
class Place:
    """The folders of one run, below ``root``."""

    root: Path

    @property
    def raw(self) -> Path:
        """The data set as nnU-Net wants it."""
        return self.root / "raw" / DATASET

    @property
    def found(self) -> Path:
        """Predictions on the scans' own grids."""
        return self.root / "found"

    def facts(self, name: str, made_by: str) -> dict[str, Any]:
        """A record of an earlier step.

        Raises:
            UsageError: that step has not been done.
        """
        try:
            content: dict[str, Any] = json.loads((self.root / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{self.root.name} holds no {name}.", f"Run nnunet.py {made_by} first.") from None
        return content


# --- there ----------------------------------------------------------------------------------------------------------


def convert(options: argparse.Namespace) -> None:
    """Write the raw data set, and who is who in it.

    Raises:
        UsageError: it is there already, or a case both trains and judges.
        InputError: a case cannot be used.
    """
    place, contrasts = Place(options.out), _contrasts(options.contrasts)
    if (place.root / KEY).exists():
        raise UsageError(f"{place.root.name} holds a converted data set.", "Choose another --out, or delete it.")
    parts = {"Tr": [c for path in options.train for c in sound(find_cases(path))], "Ts": sound(find_cases(options.val))}
    if both := {case.id for case in parts["Tr"]} & {case.id for case in parts["Ts"]}:
        raise UsageError(f"{min(both)} would train and judge.", "TRAIN and --val must hold different cases.")
    keys: dict[str, dict[str, str]] = {}
    for part, cases in parts.items():
        keys[part] = {key: case.id for key, case in named(cases).items()}
        for key, case in named(cases).items():
            SAY.say(f"images{part}/{key}")
            for number, volume in enumerate(channels(case, contrasts, options.mm)):
                save(volume, place.raw / f"images{part}" / f"{key}_{number:04}.nii.gz", overwrite=True)
            target = labels(case, options.mm)  # also of cases that judge: better to hear of a missing mask now
            if part == "Tr":
                save(target, place.raw / "labelsTr" / f"{key}.nii.gz", overwrite=True)
    description = {
        "channel_names": {str(number): contrast.upper() for number, contrast in enumerate(contrasts)},
        "labels": {"background": 0, "lesion": 1}, "numTraining": len(keys["Tr"]), "file_ending": ".nii.gz",
    }  # fmt: skip
    files.write_json(place.raw / "dataset.json", description)
    facts = {"train": keys["Tr"], "test": keys["Ts"], "val": str(options.val.resolve()), "mm": options.mm}
    files.write_json(place.root / KEY, facts | {"contrasts": list(contrasts)})


def _contrasts(text: str) -> tuple[Contrast, ...]:
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not wanted or set(wanted) - set(CONTRASTS):
        raise UsageError(f"--contrasts {text!r}: no such contrast.", f"Known: {', '.join(CONTRASTS)}.")
    return tuple(contrast for contrast in CONTRASTS if contrast in wanted)


# --- nnU-Net --------------------------------------------------------------------------------------------------------


def call(place: Place, options: argparse.Namespace, command: str, *arguments: object, **more: str) -> None:
    """Run one of nnU-Net's commands; what it says goes to OUT/<command>.log.

    Raises:
        UsageError: nnU-Net is not installed.
        ModelError: the command failed.
    """
    path = os.pathsep.join([*([str(options.nnunet)] if options.nnunet else []), os.environ.get("PATH", "")])
    program = shutil.which(command, path=path)
    if program is None:
        raise UsageError(f"There is no command {command}: nnU-Net is not installed here.", NOT_INSTALLED)
    environment = os.environ | more | {
        "nnUNet_raw": str(place.raw.parent), "nnUNet_preprocessed": str(place.root / "preprocessed"),
        "nnUNet_results": str(place.root / "trained"), "nnUNet_extTrainer": str(TRAINERS), "nnUNet_compile": "f",
    }  # fmt: skip
    if options.threads:
        environment |= {"OMP_NUM_THREADS": str(options.threads), "BRAINCLI_THREADS": str(options.threads)}
    log = place.root / f"{command}.log"
    SAY.say(f"{command} (its words go to {log.name})")
    with log.open("w", encoding="utf-8") as words:
        code = subprocess.run(
            [program, *map(str, arguments)], env=environment, stdout=words, stderr=subprocess.STDOUT
        ).returncode
    if code:
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise ModelError(f"{command} ended with code {code}: {last[-1] if last else 'no word'}", f"See {log}.")


def plans(memory: float | None) -> str:
    """Name of nnU-Net's plans for ``memory`` GB."""
    return "nnUNetPlans" if memory is None else f"nnUNetPlans_{memory:g}GB".replace(".", "-")


def train(options: argparse.Namespace) -> None:
    """Let nnU-Net plan, preprocess, and train on all converted cases within the budget."""
    place = Place(options.out)
    place.facts(KEY, "convert")
    if options.minutes <= 0:
        raise UsageError(f"--minutes {options.minutes:g} is no budget.", "Give more than 0.")
    planned = place.root / f"planned-{plans(options.memory)}-{options.configuration}.json"
    if not planned.exists():  # does not depend on the budget
        target = [] if options.memory is None else ["-gpu_memory_target", options.memory]
        call(
            place, options, "nnUNetv2_plan_and_preprocess", "-d", 501, "-c", options.configuration, "-np", 1, "-npfp",
            1, *target, "-overwrite_plans_name", plans(options.memory),
        )  # fmt: skip
        files.write_json(planned, {"memory": options.memory, "configuration": options.configuration})
    own = {"nnUNet_n_proc_DA": "0"} if options.device == "cpu" else {}  # augmented in the process that has the budget
    call(
        place, options, "nnUNetv2_train", 501, options.configuration, "all", "-tr", TRAINER, "-p",
        plans(options.memory), "-device", options.device, BRAINCLI_MINUTES=f"{options.minutes}", **own,
    )  # fmt: skip
    folder = f"{TRAINER}__{plans(options.memory)}__{options.configuration}"
    facts = json.loads((place.root / "trained" / DATASET / folder / "fold_all" / "facts.json").read_text("utf-8"))
    budget = {"configuration": options.configuration, "memory": options.memory, "budget": options.minutes}
    files.write_json(place.root / "trained.json", facts | budget)
    SAY.say(f"{facts['iterations']} iterations in {facts['minutes']} minutes of compute time")


# --- and back -------------------------------------------------------------------------------------------------------


def judging(place: Place) -> Iterator[tuple[str, Case]]:
    """The cases that judge, by their names in the data set."""
    facts = place.facts(KEY, "convert")
    cases = {case.id: case for case in sound(find_cases(Path(facts["val"])))}
    for key, id in facts["test"].items():
        if id not in cases:
            raise InputError(f"{id} is gone from {Path(facts['val']).name}.", "Convert anew, into another --out.")
        yield key, cases[id]


def predict(options: argparse.Namespace) -> None:
    """Predict the cases that judge: OUT/found/<case>/<case>_mask.nii.gz and <case>_anomaly.nii.gz."""
    place = Place(options.out)
    trained, mm = place.facts("trained.json", "train"), place.facts(KEY, "convert")["mm"]
    shutil.rmtree(place.root / "predicted", ignore_errors=True)
    wall, cpu = time.perf_counter(), _children()
    call(
        place, options, "nnUNetv2_predict", "-i", place.raw / "imagesTs", "-o", place.root / "predicted", "-d", 501,
        "-c", trained["configuration"], "-f", "all", "-tr", TRAINER, "-p", plans(trained["memory"]), "-device",
        options.device, "-npp", 1, "-nps", 1, "--save_probabilities", *(["--disable_tta"] if options.plain else []),
    )  # fmt: skip
    spent, count = (time.perf_counter() - wall, _children() - cpu), 0
    for key, case in judging(place):
        likely, mask = back(probability(place.root / "predicted", key), case, mm)
        save(likely, place.found / case.id / f"{case.id}_anomaly.nii.gz", overwrite=True)
        save(mask, place.found / case.id / f"{case.id}_mask.nii.gz", overwrite=True)
        count += 1
    sides = 2 if trained["configuration"] == "2d" else 3
    times = {"seconds_per_case": round(spent[0] / count, 2), "cpu_seconds_per_case": round(spent[1] / count, 2)}
    files.write_json(place.root / "predicted.json", times | {"calls": 1 if options.plain else 2**sides})


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- the row --------------------------------------------------------------------------------------------------------


def figures(case: Case, mask: Volume, likely: Volume) -> dict[str, float | None]:
    """Figures of a prediction on the scan's own grid."""
    slices, lesion = load_case(case, SliceSpec())
    assert lesion is not None
    e = Evidence(case, slices, slices.image[:, :0], lesion > 0.5, reference(case, slices.grid).data)
    found, score = (reorient(mask_on_grid_of(one, slices.grid)[0]).data for one in (mask, likely))
    return crossfit.figures(e, score, found > 0)


def row(options: argparse.Namespace) -> None:
    """Write BOARD/nnunet/result.json, which ``leaderboard.py --only-table`` takes into its table."""
    place = Place(options.out)
    facts, trained, times = (
        place.facts(name, step)
        for name, step in ((KEY, "convert"), ("trained.json", "train"), ("predicted.json", "predict"))
    )
    rows = {}
    for _, case in judging(place):
        mask, likely = (
            load(place.found / case.id / f"{case.id}_{kind}.nii.gz", labels=kind == "mask")
            for kind in ("mask", "anomaly")
        )
        rows[case.id] = figures(case, mask, likely)
        SAY.say(f"{case.id}: DSC {rows[case.id]['dsc']:.3f}")
    size = " x ".join(map(str, trained["patch"]))
    words = (
        f"external: nnU-Net {trained['version']}, {trained['configuration']}, {trained['iterations']:,} iterations of "
        f"{trained['batch']} x ({size})" + (f", {facts['mm']:g} mm" if facts["mm"] else "")
    )
    result = {
        "name": "nnunet", "method": "nnunet", "external": words, "shipped": False, "status": "done",
        "braincli": __version__, "given": {}, "cases": rows, "calibrations": {}, "slices_shown": [],
        "plan": {"preset": "external", "minutes": trained["budget"], "seed": None, "unlabelled": False},
        "training_cases": sorted(facts["train"].values()), "parameters": trained["parameters"], "preset": "external",
        "training": {"compute_minutes": trained["minutes"], "steps": {"train": trained["iterations"]}},
        "device": trained["device"], "threads": options.threads, **times,
    }  # fmt: skip
    files.write_json(options.board / "nnunet" / "result.json", result)
    SAY.say(f"mean DSC {np.mean([one['dsc'] for one in rows.values() if one['dsc'] is not None]):.3f}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for work in (convert, train, predict, row):
        step = steps.add_parser(work.__name__, help=(work.__doc__ or "").splitlines()[0])
        step.set_defaults(work=work)
        step.add_argument("--out", type=Path, required=True, help="folder of this run")
        step.add_argument("--threads", type=int, help="of the training, and of what OpenMP does")
        if work is convert:
            step.add_argument("train", type=Path, nargs="+", help="cases with expert masks that train")
            step.add_argument("--val", type=Path, required=True, help="cases with expert masks that judge")
            step.add_argument("--contrasts", default=",".join(CONTRASTS), help="channels (default: all four)")
            step.add_argument("--mm", type=float, help="edge of a voxel (default: the scan's)")
        if work in (train, predict):
            step.add_argument("--nnunet", type=Path, metavar="BIN", help="folder of nnU-Net's commands")
            step.add_argument("--device", default="cuda", choices=("cuda", "cpu", "mps"))
        if work is train:
            step.add_argument("--minutes", type=float, required=True, help="compute time of the training")
            step.add_argument("--configuration", default="2d", help="2d, 3d_fullres ... (default 2d)")
            step.add_argument("--memory", type=float, help="GB of GPU memory that nnU-Net plans for (default: its own)")
        if work is predict:
            step.add_argument("--plain", action="store_true", help="predict once, not also the mirrored scans")
        if work is row:
            step.add_argument("--board", type=Path, required=True, help="WORK of leaderboard.py")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """One step."""
    options = parse(arguments)
    try:
        options.work(options)
    except BraincliError as error:
        SAY.say(f"error: {error}")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
