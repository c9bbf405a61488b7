"""Train every registered method within one budget of compute time, cross-fit it on validation cases, rank them.

    python benchmarks/leaderboard.py tumour/train --unlabelled suspects/manifest.tsv --val tumour/val \\
        --out work/ --models all --minutes 4
    python benchmarks/leaderboard.py tumour/train --unlabelled suspects/manifest.tsv --val tumour/val \\
        --out crossed/ --models all --minutes 4 --folds 3
    python benchmarks/leaderboard.py --out work/ --only-table
    python benchmarks/leaderboard.py --out work/ --ship --judge crossed/ --data-note "BraTS, TCIA; cite ..."
    python benchmarks/pictures.py work/ -o pictures/

Every method sees the same slices (those that learn lesion outlines: only the cases of the first folder, whose masks are
true) for the same compute time, unless its preset's own number of steps is done before: CPU time of the training
process on a CPU, wall time on a GPU. Threshold, contrast weights and smallest lesion are fitted on one half of the
validation cases and reported on the other. With ``--folds`` the cases of both folders are one cohort: a part of them is
judged by a model that two thirds of the others trained and one third calibrated, and so on for every part; each
training has the whole budget, so that a row takes as many times as long. One process per method: one that fails is
reported in the table and does not stop the others. Run it again to go on where it stopped; what is done is kept
(``--again NAME`` does it anew).

``WORK/models/<name>/`` holds each model, ``WORK/<name>/result.json`` its figures per case, ``WORK/<name>/shown.npz``
the slices for ``benchmarks/pictures.py``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contest import SAY, Entry, Plan, judge
from standings import BASELINE, card_notes, is_ours, mean, results, table, values

from braincli import __version__
from braincli.errors import BraincliError, UsageError
from braincli.methods import registry
from braincli.model.card import NOTES
from braincli.model.folder import read_info, write_info
from braincli.runtime import files

ROOT = Path(__file__).resolve().parents[1]
LARGEST_MB, ALL_MB = 8.0, 100.0


def work_on(plan: Plan, entry: Entry) -> None:
    """Body of a method's process: whatever happens becomes its ``result.json``."""
    try:
        outcome = {"status": "done", **judge(plan)(plan, entry)}
    except BraincliError as error:
        outcome = {"status": "failed", "reason": error.message}
    except Exception as error:  # a bug in one method must not cost the others
        traceback.print_exc()
        outcome = {"status": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    write(plan, entry, outcome)


def write(plan: Plan, entry: Entry, outcome: dict[str, Any]) -> None:
    """Write ``WORK/<name>/result.json``."""
    minutes = {"minutes": entry.minutes} if entry.folder else {}
    given = {"model": files.sha256(entry.folder / "model.json"), **minutes} if entry.folder else {}
    head = {"name": entry.name, "method": entry.method, "shipped": bool(entry.folder), "braincli": __version__}
    files.write_json(plan.work / entry.name / "result.json", head | {"plan": plan.facts(), "given": given} | outcome)


def is_done(plan: Plan, entry: Entry) -> bool:
    """Whether ``entry`` has a result; a failed one is tried again.

    Raises:
        UsageError: there is one that comes from another plan.
    """
    path = plan.work / entry.name / "result.json"
    if not path.exists():
        return False
    known = json.loads(path.read_text(encoding="utf-8"))
    if known["status"] == "failed":
        return False
    if entry.folder:
        same: bool = known["given"].get("model") == files.sha256(entry.folder / "model.json")
        return same
    if known["plan"] != plan.facts():
        raise UsageError(
            f"{entry.name} was done with other options: {known['plan']}.",
            f"Choose another --out, or do it anew with --again {entry.name}.",
        )
    return True


def run(plan: Plan, entries: Sequence[Entry]) -> None:
    """Work on what is not done, one process after the other, and write the table after each."""
    waiting = [entry for entry in entries if not is_done(plan, entry)]
    for entry in waiting:
        SAY.say(f"=== {entry.name}")
        process = multiprocessing.get_context("spawn").Process(target=work_on, args=(plan, entry))
        before = _stamp(plan.work / entry.name / "result.json")
        process.start()
        process.join()
        if _stamp(plan.work / entry.name / "result.json") == before:  # killed, or out of memory
            write(plan, entry, {"status": "failed", "reason": f"the process ended with code {process.exitcode}"})


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


# --- shipping -----------------------------------------------------------------------------------------------------


def ship(work: Path, models: Path, data_note: str, replace: Sequence[str], judged: Path | None = None) -> list[str]:
    """Copy each model whose DSC beats the baseline's into ``models``, with its card.

    Models that are there already stay as they are unless ``replace`` names them.

    Args:
        judged: the results that tell which methods beat the baseline (cross-validated ones, say), if not those of
            ``work``, where the models are.

    Raises:
        UsageError: no result of the baseline, or no word about the data.
    """
    entries = results(work)
    judges = {r["name"]: r for r in results(judged or work) if r["status"] == "done"}
    baseline = judges.get(BASELINE)
    if baseline is None:
        raise UsageError(f"{BASELINE}, which a shipped model has to beat, has no result.", f"Run --models {BASELINE}.")
    if not data_note:
        raise UsageError("A shipped model's card names its data and their licence.", 'Add --data-note "...".')
    shipped = []
    for result in entries:
        name = result["name"]
        if result["status"] != "done" or not is_ours(result) or name == BASELINE:
            continue
        if name not in judges:
            SAY.say(f"{name}: not shipped, {(judged or work).name} does not judge it")
            continue
        if reason := _unfit(judges[name], baseline, work / "models" / name, models, name in replace):
            SAY.say(f"{name}: not shipped, {reason}")
            continue
        _copy(result, (judges[name], baseline), work / "models" / name, models / name, data_note)
        shipped.append(name)
    return shipped


def _unfit(result: dict[str, Any], baseline: dict[str, Any], folder: Path, models: Path, replace: bool) -> str:
    """Why a model is not shipped; empty if it is."""
    size, others = _megabytes(folder), _megabytes(models, but=result["name"])
    if mean(result, "dsc") <= mean(baseline, "dsc"):
        return f"DSC {mean(result, 'dsc'):.3f} does not beat {mean(baseline, 'dsc'):.3f}"
    if size > LARGEST_MB or others + size > ALL_MB:
        return f"it is too large ({size:.1f} MB, all of {models.name}/ {others + size:.1f} MB)"
    if (models / result["name"]).exists() and not replace:
        return f"{models.name}/{result['name']} is there (add --replace {result['name']})"
    return ""


def _megabytes(folder: Path, but: str = "") -> float:
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != but]
    return sum(sizes) / 1e6


def _copy(
    result: dict[str, Any], verdict: tuple[dict[str, Any], dict[str, Any]], source: Path, target: Path, data_note: str
) -> None:
    """Weights, description and card of one model; ``verdict``: its row and the baseline's, by which it is shipped."""
    info = read_info(source)
    target.mkdir(parents=True, exist_ok=True)
    for old in [path for path in target.iterdir() if path.is_file()]:
        old.unlink()
    for file in info.weights:
        shutil.copyfile(source / file, target / file)
    card = "\n" + card_notes(result, verdict, data_note)
    files.write_text(target / "README.md", NOTES + card)
    names = {"DSC (cross-fitted)": "dsc", "AUPRC": "auprc", "HD95 (mm)": "hd95_mm", "healthy FP (ml)": "healthy_fp_ml"}
    figures = {name: round(mean(result, key), 4) for name, key in names.items() if len(values(result, key))}
    write_info(target, info.model_copy(update={"name": target.name, "figures": info.figures | figures}))


# --- the command line ---------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("train", type=Path, nargs="?", help="training cases with expert masks")
    add("--unlabelled", type=Path, metavar="MANIFEST", help="more training cases, with masks of what is suspicious")
    add("--val", type=Path, help="validation cases with expert masks")
    add("--out", type=Path, required=True, metavar="WORK")
    add("--models", default="", metavar="NAMES", help="all, or method names with commas between them")
    add("--minutes", type=float, default=4.0, help="compute time of each training (default 4)")
    add("--folds", type=int, metavar="N", help="cross-validate over the cases of both folders (3 for the leaderboard)")
    add("--preset", default="compact")
    add("--use", action="append", default=[], metavar="NAME=FOLDER[@MINUTES]", help="a model that is trained already")
    add("--again", default="", metavar="NAMES", help="forget what was trained and found for these")
    add("--table", type=Path, default=ROOT / "models" / "LEADERBOARD.md")
    add("--only-table", action="store_true", help="write the table from what is there")
    add("--ship", action="store_true", help="copy models that beat the baseline into --ship-to, with cards")
    add("--judge", type=Path, metavar="WORK", help="with --ship: the results that decide, e.g. of a run with --folds")
    add("--ship-to", type=Path, default=ROOT / "models")
    add("--replace", default="", metavar="NAMES", help="with --ship: these may replace a model that is there")
    add("--data-note", default="", help="with --ship: data, licence and citations, for the cards")
    add("--threads", type=int)
    add("--device", default="auto")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def entries_of(arguments: argparse.Namespace) -> list[Entry]:
    """The rows that were asked for.

    Raises:
        UsageError: an unknown method, or no data.
    """
    names = list(registry.METHODS) if arguments.models == "all" else _split(arguments.models)
    entries = [Entry(name) for name in names]
    for text in arguments.use:
        name, _, place = text.partition("=")
        folder, _, minutes = place.partition("@")
        if not folder:
            raise UsageError(f"--use {text!r} is not NAME=FOLDER.")
        entries.append(Entry(name, Path(folder), float(minutes) if minutes else None))
    for entry in entries:
        registry.spec(entry.method)
    if entries and (arguments.val is None or (names and arguments.train is None)):
        raise UsageError("Training and validation cases are needed.", "leaderboard.py TRAIN --val VAL --out WORK ...")
    return entries


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def main() -> None:
    arguments = parse()
    plan = Plan(
        arguments.train, arguments.unlabelled, arguments.val, arguments.out, arguments.preset, arguments.minutes,
        arguments.seed, arguments.threads, arguments.device, arguments.folds,
    )  # fmt: skip
    try:
        entries = [] if arguments.only_table else entries_of(arguments)
        for name in _split(arguments.again):
            for folder in (plan.work / name, plan.work / "models" / name):
                shutil.rmtree(folder, ignore_errors=True)
        for entry in entries or [None]:  # type: ignore[list-item]
            if entry is not None:
                run(plan, [entry])
            files.write_text(arguments.table, table(results(plan.work)))
        if arguments.ship:
            shipped = ship(
                plan.work, arguments.ship_to, arguments.data_note, _split(arguments.replace), arguments.judge
            )
            SAY.say(f"shipped: {', '.join(shipped) or 'none'}")
    except BraincliError as error:
        SAY.say(f"error: {error}")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
