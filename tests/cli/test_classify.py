"""``braincli classify``: exit codes, what is printed, and bad manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import affine, brain, write
from typer.testing import CliRunner

from braincli.classification.registry import CLASSIFIERS
from braincli.cli import app

TINY = ["--preset", "tiny", "--precision", "fp32", "--threads", "1", "--steps", "2", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans, the same for all: what is told of them is looked at, not how well."""
    made = tmp_path_factory.mktemp("cohort")
    lines = ["id\tt1\tclass\tsite"]
    for k in range(4):
        write(made / f"c{k}_t1.nii.gz", brain((20, 24, 20), k), affine("RAS", (8.0, 8.0, 8.0)))
        lines.append(f"c{k}\tc{k}_t1.nii.gz\t{('healthy', 'ms')[k % 2]}\t{('a', 'b')[k // 2]}")
    (made / "cohort.tsv").write_text("\n".join(lines) + "\n")
    return made


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["classify", *map(str, words)])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("change", "words", "code", "says"),
    [
        (
            ("class", "kind"),
            (),
            3,
            "The manifest has no column 'class'. Name the columns with --label and --site; every case needs both. "
            "Columns: group, kind, site.",
        ),
        (("\tsite", "\tcentre"), (), 3, "The manifest has no column 'site'."),
        (("ms\t", "healthy\t"), (), 3, "The only class is healthy (4 cases): there is nothing to tell apart."),
        (("c1\tc1", "c0\tc1"), (), 3, "the id c0 occurs twice."),
        (("c1_t1", "c9_t1"), (), 3, "no such file: c9_t1.nii.gz"),
        (("", ""), ("--target", "x"), 2, "There is no site 'x'. Sites: a, b."),
        (("", ""), ("--method", "l2"), 2, "There is no classifier 'l2'. Choose one of: l2i, l2i-fixed"),
        (("", ""), ("--method", "densenet169"), 2, "works on slices: braincli train --method densenet169."),
        (("", ""), ("--preset", "huge"), 2, "l2i has no preset 'huge'."),
        (("", ""), ("--set", "d=0.1"), 2, "d 0.1 is not above twice r 0.1"),
        (("", ""), ("--contrast", "flair"), 3, "c0 has no flair."),
        (("", ""), ("--method", "can"), 2, "can adapts to target sites without their labels"),
    ],
)
def test_what_cannot_be_trained_is_told(
    change: tuple[str, str], words: tuple[str, ...], code: int, says: str, folder: Path, tmp_path: Path
) -> None:
    table = folder / "changed.tsv"
    table.write_text((folder / "cohort.tsv").read_text().replace(*change) if change[0] else
                     (folder / "cohort.tsv").read_text())  # fmt: skip
    found, _, said = run("train", table, "-o", tmp_path / "model", "--threads", 1, "--quiet", *words)
    assert (found, says in said) == (code, True), said
    assert not (tmp_path / "model").exists()


def test_train_predict_and_validate(folder: Path, tmp_path: Path) -> None:
    code, out, said = run("train", folder / "cohort.tsv", "-o", tmp_path / "ms", *TINY, "--json")
    assert code == 0, said
    assert json.loads(out)["classes"] == ["healthy", "ms"]
    code, out, said = run("predict", folder / "cohort.tsv", "-m", tmp_path / "ms", "--quiet", "--threads", 1)
    assert code == 0 and "c0: " in out and "AUROC" in out, said
    code, _, said = run(
        "predict", folder / "cohort.tsv", "-m", tmp_path / "ms", "-o", tmp_path / "told", "--threads", 1
    )
    assert code == 0 and all(file.name in said for file in (tmp_path / "told").iterdir()), said
    (folder / "odd.tsv").write_text((folder / "cohort.tsv").read_text().replace("c1_t1", "gone_t1"))
    code, out, said = run("predict", folder / "odd.tsv", "-m", tmp_path / "ms", "--quiet", "--json", "--threads", 1)
    assert code == 6 and "1 of 4 cases failed" in said and set(json.loads(out)["failures"]) == {"c1"}
    code, out, said = run("validate", folder / "cohort.tsv", *TINY, "--method", "vanilla,dann")
    assert code == 0, said
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        ["vanilla", "a"],
        ["vanilla", "b"],
        ["vanilla", "all"],
    ]


def test_predict_needs_a_classifier(folder: Path, models: Path) -> None:
    code, _, said = run("predict", folder / "cohort.tsv")
    assert code == 2 and "Which model?" in said
    code, _, said = run("predict", folder / "cohort.tsv", "-m", models / "threshold")
    assert code == 4 and "threshold is no classifier of volumes" in said


def test_models_lists_the_classifiers(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("train", folder / "cohort.tsv", "-o", tmp_path / "ms", *TINY)[0] == 0
    monkeypatch.setenv("BRAINCLI_MODELS", str(tmp_path))
    text = CliRunner().invoke(app, ["models"]).stdout
    assert all(f"  {name}" in text for name in CLASSIFIERS) and "l2i, tiny: healthy or ms" in text
    cited = CliRunner().invoke(app, ["cite", "--model", "ms"])
    assert cited.exit_code == 0 and all(title in cited.stdout for title in ("Learn to Ignore", "Inception-v4"))
    assert "Domain-Adversarial" not in cited.stdout
    shown = json.loads(CliRunner().invoke(app, ["models", "l2i", "--json"]).stdout)
    assert set(shown["classifiers"]) == {"l2i"} and set(shown["models"]) == {"ms"} and not shown["methods"]
