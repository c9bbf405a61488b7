"""A cohort as a table: one case a line, with the paths of its files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.case import Case, dangling, one_per_id
from braincli.imaging.names import CONTRASTS, TISSUES, is_nifti, legible

GROUPS = ("healthy", "diseased")
MASKS = ("brain", "lesion", "unsure")
COLUMNS = ("id", *CONTRASTS, *MASKS, *TISSUES, "group")
HINT = (
    f"Columns, separated by tabs: {', '.join(COLUMNS)}; paths relative to the manifest. Others may hold facts, such as "
    "an age, but no files."
)
ALIKE = 0.85  # of a column's name, from which on it is a slip of the pen


def read_manifest(path: Path) -> list[Case]:
    """Cases of a tab-separated table, sorted by id; empty cells and ``n/a`` mean that there is no such file or fact.

    A column that is none of :data:`COLUMNS` holds facts (``Case.facts``), unless its name or its cells show that it was
    meant to be one of them. A line that names a missing file, no scan or an unknown group becomes a case with a
    problem.

    Raises:
        InputError: no such table, a line without an id, or a column that was meant to be another one.
    """
    name = legible(path.name)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t")
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name} is no table in UTF-8 text ({error}).", HINT) from None
    for column in (column for column in columns if column not in COLUMNS):
        if meant := _meant(column, [row.get(column) or "" for row in rows]):
            raise InputError(f"{name}: unknown column {column!r}.", f"{meant}{HINT}")
    if "id" not in columns or not rows:
        raise InputError(f"{name} has no {'rows' if 'id' in columns else 'column id'}.", HINT)
    cases = [_from_row(path, number, row) for number, row in enumerate(rows, 2)]
    return sorted(one_per_id(cases, f"{name}: the id {{}} occurs twice."), key=lambda case: case.id)


def as_manifest(cases: Iterable[Case], folder: Path) -> str:
    """The table that :func:`read_manifest` reads, for a file in ``folder``: paths relative to it.

    Raises:
        InputError: a contrast is one volume of a 4-D file, which a table cannot say.
    """
    cases = list(cases)
    rows = [_row(case, folder) for case in cases]
    facts = dict.fromkeys(fact for case in cases for fact in case.facts)
    columns = [column for column in (*COLUMNS, *facts) if column == "id" or any(column in row for row in rows)]
    lines = [columns, *([row.get(column, "n/a") for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _row(case: Case, folder: Path) -> dict[str, str]:
    if case.volumes:
        raise InputError(f"{case.id} is a 4-D file.", "Write its volumes to files of their own first.")
    files: dict[str, Path | None] = {str(contrast): path for contrast, path in case.images.items()}
    files |= {"brain": case.brain, "lesion": case.lesion, "unsure": case.unsure, **case.tissue}
    # not resolved: of a link the name counts, not what it leads to
    paths = {key: os.path.relpath(path.absolute(), folder.absolute()) for key, path in files.items() if path}
    return {"id": case.id, **paths, **({"group": case.group} if case.group else {}), **case.facts}


def _from_row(manifest: Path, number: int, row: dict[str, str | None]) -> Case:
    where = f"{legible(manifest.name)}, line {number}"
    cells = {key: value.strip() for key, value in row.items() if key and value and value.strip() not in ("", "n/a")}
    if "id" not in cells:
        raise InputError(f"{where}: no id.", HINT)
    files = {key: manifest.parent / cells[key] for key in (*CONTRASTS, *MASKS, *TISSUES) if key in cells}
    images = {contrast: files[contrast] for contrast in CONTRASTS if contrast in files}
    group = cells.get("group")
    problem = None
    if missing := [file for file in files.values() if not file.is_file()]:
        problem = InputError(f"{where}: no such file: {missing[0].name}.", "Paths are relative to the manifest.")
        problem = dangling(missing) or problem
    elif not images:
        problem = InputError(f"{where}: no scan.", HINT)
    elif group not in (None, *GROUPS):
        problem = InputError(f"{where}: group is {group!r}.", "Write healthy, diseased, or leave it empty.")
    tissue = {name: files[name] for name in TISSUES if name in files}
    return Case(
        cells["id"], images, files.get("brain"), files.get("lesion"), group, tissue, problem,
        unsure=files.get("unsure"), facts={key: cell for key, cell in cells.items() if key not in COLUMNS},
    )  # fmt: skip


def _meant(column: str, cells: Iterable[str]) -> str:
    """Why ``column`` holds no facts; empty where it does."""
    if not column.strip():
        return "A column has no name. "
    if close := get_close_matches(column.lower(), COLUMNS, n=1, cutoff=ALIKE):
        return f"Did you mean {close[0]}? "
    return "It names files. " if any(is_nifti(Path(cell.strip())) for cell in cells) else ""
