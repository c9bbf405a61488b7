"""Options as a configuration: what is merged, what is refused and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from braincli import config
from braincli.config import (
    CalibrateConfig,
    DetectConfig,
    PreprocessConfig,
    ScoreConfig,
    SynthConfig,
    TrainConfig,
    load,
    parse,
    to_toml,
)
from braincli.errors import UsageError
from braincli.imaging.cases import Contrast


def toml(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return folder / "mine.toml"


def test_later_wins_and_none_counts_as_not_given(tmp_path: Path) -> None:
    file = toml(tmp_path, 'seed = 1\nbatch = 2\npreset = "tiny"\n[steps]\nrestore = 5\n')
    config = load(TrainConfig, file, ["batch=3", "steps.restore=6"], {"seed": None, "batch": 4})
    assert (config.seed, config.batch, config.preset, config.steps) == (1, 4, "tiny", {"restore": 6})


def test_written_options_are_read_back(tmp_path: Path) -> None:
    config = TrainConfig(preset="tiny", steps={"restore": 3}, settings={"width": 8, "look": {"drop": 0.5}}, seed=7)
    assert load(TrainConfig, toml(tmp_path, to_toml(config.model_dump(mode="json")))) == config


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert load(SynthConfig, tmp_path / "mine.toml").seed == 3


def test_lists_may_be_written_with_commas() -> None:
    assert parse(ScoreConfig, {"labels": "1, 4"}).labels == (1, 4) == parse(ScoreConfig, {"labels": [1, 4]}).labels
    assert parse(CalibrateConfig, {"contrasts": "T1,flair"}).contrasts == (Contrast.T1, Contrast.FLAIR)
    assert parse(TrainConfig, {"max_time": "01:30:00"}).max_time == 90.0


@pytest.mark.parametrize(("run", "kept"), [("first", "first"), ("last", "last"), ("2", "2"), (2, "2")])
def test_runs(run: object, kept: str) -> None:
    assert parse(DetectConfig, {"run": run}).run == kept


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (DetectConfig, {"seed": -5}, "seed: -5 is below 0."),
        (DetectConfig, {"seed": 2**32}, "seed: 4294967296 is above 4294967295."),
        (DetectConfig, {"seed": 1.5}, "seed: 1.5 is not a whole number."),
        (DetectConfig, {"threshold": float("inf")}, "threshold: inf is not a finite number."),
        (DetectConfig, {"run": "0"}, "run: 0 is none of: first, last, or a number from 1."),
        (DetectConfig, {"run": True}, "run: True is not text."),
        (DetectConfig, {"figure": "perhaps"}, "figure: perhaps is neither true nor false."),
        (DetectConfig, {"prefer": "both"}, "prefer: both is not one of 'sform' or 'qform'."),
        (PreprocessConfig, {"skip": ["n4", "lunch"]}, "skip: lunch is not one of 'coregister', 'atlas'"),
        (
            PreprocessConfig,
            {"percentiles": (99, 1)},
            "percentiles: (99, 1) must be between 0 and 100, the lower first.",
        ),
        (PreprocessConfig, {"reference": "pd"}, "reference: pd is not one of 't1', 't1ce', 't2' or 'flair'."),
        (SynthConfig, {"radius_mm": (9, 3)}, "radius_mm: (9, 3) must be above 0, the smallest radius first."),
        (TrainConfig, {"steps": {"restore": -1}}, "steps.restore: -1 is below 0."),
        (TrainConfig, {"steps": 3}, "steps: 3 is not a table."),
        (PreprocessConfig, {"percentiles": (1, 2, 3)}, "percentiles: (1, 2, 3) has more than 2 values."),
        (PreprocessConfig, {"percentiles": []}, "percentiles: [] lacks a value."),
        (PreprocessConfig, {"percentiles": {}}, "percentiles: {} is not a list."),
        (PreprocessConfig, {"skip": None}, "skip: None is not a list."),
        (TrainConfig, {"presett": "tiny"}, "Unknown option 'presett'.\n  Did you mean preset? Valid: batch, "),
    ],
)
def test_what_is_wrong_is_said_in_our_words(kind: type, values: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(kind, values)
    assert says in str(error.value) and "Input should" not in str(error.value)


def test_a_value_bears_the_name_that_its_user_gave_it(tmp_path: Path) -> None:
    file = toml(tmp_path, "seed = -1\nradius_mm = [9, 3]\n")
    with pytest.raises(UsageError, match=r"^radius_mm in mine\.toml: "):
        load(SynthConfig, file, flags={"seed": 1})
    with pytest.raises(UsageError, match=r"^--radius-mm: "):
        load(SynthConfig, file, flags={"radius_mm": (9, 3), "seed": 1})
    with pytest.raises(UsageError, match=r"^seed in mine\.toml: -1 is below 0"):
        load(SynthConfig, file, flags={"radius_mm": (3, 9)})


@pytest.mark.parametrize(
    ("assignment", "says"), [("batch", "not key=value"), ("seed.x=1", "seed is not a table"), ("x=1", "Unknown option")]
)
def test_bad_assignments(assignment: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load(TrainConfig, toml(tmp_path, "seed = 1"), [assignment])


VALUES = (
    None, True, -1, 0, 1.5, float("inf"), float("nan"), "", "x", "1,2,3", [], [1], {}, {"a": 1}, {"a": "x"}, (1, 2, 3),
    b"x", "9" * 5000,
)  # fmt: skip
KINDS = [
    kind for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, config.Options) and kind is not config.Options
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_value_of_any_option_is_answered_in_pydantics_words(kind: type[config.Options]) -> None:
    refused = 0
    for name in kind.model_fields:
        for value in VALUES:
            try:
                config.parse(kind, {name: value})
            except UsageError as error:
                refused += 1
                assert error.message.startswith(name), error.message
                assert not re.search(r"Input should|Field required|\bvalid\b|pydantic|Value error|Tuple", error.message)
    assert refused > len(kind.model_fields)
