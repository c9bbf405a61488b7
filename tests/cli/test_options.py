"""The command line and the configuration say the same: names, defaults, choices, help, and which of them wins."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from braincli import api, config
from braincli import choices as choices_of
from braincli.classification.options import ClassifyConfig, TrainClassifierConfig, ValidateClassifierConfig
from braincli.cli import app
from braincli.config import (
    CalibrateConfig,
    CheckConfig,
    DemoConfig,
    DetectConfig,
    PreprocessConfig,
    ScoreConfig,
    SplitConfig,
    SynthConfig,
    TrainConfig,
)
from braincli.imaging.cases import CONTRASTS, Case
from braincli.phantom import run as phantom
from braincli.translation.options import ExplainConfig, TranslateConfig

CONFIGS: dict[str, type[config.Options]] = {
    "calibrate": CalibrateConfig, "check": CheckConfig, "demo": DemoConfig, "detect": DetectConfig,
    "preprocess": PreprocessConfig, "score": ScoreConfig, "split": SplitConfig,
    "synth": SynthConfig, "train": TrainConfig, "translate": TranslateConfig, "explain": ExplainConfig,
    "classify train": TrainClassifierConfig, "classify validate": ValidateClassifierConfig,
    "classify predict": ClassifyConfig,
}  # fmt: skip
FUNCTIONS = {  # commands whose function is not called as they are
    "classify train": "train_classifier", "classify validate": "validate_classifier", "classify predict": "classify",
}  # fmt: skip
# what a command takes beside its configuration: what it works on, where it writes, how it speaks
OWN = {"inputs", "output", "config_file", "as_json", "quiet", "debug", "verbose", "log_file", "help", "contrast"}
MORE = {
    "calibrate": {"healthy", "normal", "all_contrasts"}, "train": {"validation"},
    "detect": {"t1", "t1ce", "t2", "flair", "brain_mask"},
    "score": {"prediction", "reference", "anomaly_map", "brain_mask", "compare"}, "translate": {"mask"},
}  # fmt: skip
PARTIAL = {"bids": DetectConfig}  # commands that take some of the options of a configuration
FLAGS = {
    (command, "settings"): "--set" for command in ("train", "classify train", "classify validate")
}  # all others are called as the field is
EVERYWHERE = {
    "as_json": ["--json"], "quiet": ["--quiet", "-q"], "debug": ["--debug"], "verbose": ["--verbose", "-v"],
    "log_file": ["--log-file"],
}  # fmt: skip


def commands() -> dict[str, Any]:
    """Every command by name; of groups their subcommands."""
    root = getattr(typer.main.get_command(app), "commands")  # noqa: B009
    below = {f"{name} {sub}": each for name, c in root.items() for sub, each in getattr(c, "commands", {}).items()}
    return {name: command for name, command in root.items() if not hasattr(command, "commands")} | below


COMMANDS = commands()
FIELDS = [(command, field) for command, kind in CONFIGS.items() for field in kind.model_fields]


def parameter(command: str, name: str) -> Any:
    return next(p for p in COMMANDS[command].params if p.name == name)


def shown(value: object) -> str:
    """A default as the help writes it."""
    if isinstance(value, tuple):
        return " ".join(part if isinstance(part, str) else f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("command", CONFIGS)
def test_every_field_is_an_option_and_every_option_a_field(command: str) -> None:
    fields = set(CONFIGS[command].model_fields)
    names = {p.name for p in COMMANDS[command].params} - (OWN - fields) - MORE.get(command, set())
    assert names == fields


@pytest.mark.parametrize(("command", "name"), FIELDS, ids=[".".join(pair) for pair in FIELDS])
def test_an_option_says_what_the_configuration_does(command: str, name: str) -> None:
    field, option = CONFIGS[command].model_fields[name], parameter(command, name)
    assert option.default is None, "not given must be told from given"
    assert FLAGS.get((command, name), f"--{name.replace('_', '-')}") in option.opts
    assert option.help and option.help[0].isupper() | option.help[0].islower()
    default = re.search(r"\[default: (.*)\]$", option.help)
    if isinstance(field.default, bool):
        wanted = name if field.default else None
        assert option.is_flag and (default and default[1]) == wanted
        assert bool(option.secondary_opts) == field.default  # only what is on can be turned off
    elif field.default not in (None, (), {}, frozenset()):
        assert default and default[1] == shown(field.default)


@pytest.mark.parametrize(("command", "name"), FIELDS, ids=[".".join(pair) for pair in FIELDS])
def test_choices_are_the_same(command: str, name: str) -> None:
    annotation = CONFIGS[command].model_fields[name].annotation
    allowed = [str(value) for value in literals(annotation)]
    if {part for part in get_args(annotation) if get_origin(part) is not Literal} - {type(None)}:
        allowed = allowed if get_origin(annotation) in (Literal, tuple, list) else []  # a word or something else
    if name == "reference":  # an enumeration in the configuration
        allowed = list(CONTRASTS)
    assert choices(command, name) == allowed


def choices(command: str, name: str) -> list[str]:
    """What the help lets a user choose from."""
    offered = re.fullmatch(r"\[([a-z0-9|-]+)\]", parameter(command, name).metavar or "")
    return offered[1].split("|") if offered else []


def literals(annotation: Any) -> list[Any]:
    """Values of the Literal in a type, however deep it lies."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in literals(part)]


def test_bids_takes_options_of_detect_as_they_are() -> None:
    own = {"bids_dir", "output", "level", "participant_label", "session_label", "bids_filter_file"}
    shared = {p.name for p in COMMANDS["bids"].params} - own
    fields = set(PARTIAL["bids"].model_fields)
    assert shared - fields == {"config_file", "as_json", "quiet", "debug", "verbose", "log_file", "help"} & shared
    for name in shared - {"report", "help"}:
        here, there = parameter("bids", name), parameter("detect", name)
        assert (here.opts, here.help, here.metavar) == (there.opts, there.help, there.metavar)
    level = parameter("bids", "level")
    assert level.metavar == f"[{'|'.join(get_args(choices_of.Level))}]"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_all_commands_share(command: str) -> None:
    for name, flags in EVERYWHERE.items():
        assert parameter(command, name).opts == flags
    taken = {**CONFIGS, **PARTIAL}
    configured = command.removeprefix("slurm ") in taken  # which takes the options of the command that it submits
    assert ("config_file" in {p.name for p in COMMANDS[command].params}) == configured
    short = {flag: p.name for p in COMMANDS[command].params for flag in p.opts if re.fullmatch("-[a-z]", flag)}
    allowed = {"-q": "quiet", "-v": "verbose", "-o": "output", "-m": "model", "-h": "help"}
    assert short.items() <= allowed.items()


@pytest.mark.parametrize(
    "name", ["run", "volume", "prefer", "already_stripped", "seed", "threads", "device", "overwrite"]
)
def test_an_option_means_the_same_in_all_commands(name: str) -> None:
    texts = {parameter(command, name).help for command, kind in CONFIGS.items() if name in kind.model_fields}
    assert len(texts) == 1


@pytest.mark.parametrize("verb", [v for v in CONFIGS if v != "demo"])
def test_functions_bear_the_same_names(verb: str) -> None:
    signature = inspect.signature(getattr(api, FUNCTIONS.get(verb, verb)))
    places = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    order = ["inputs", "reference", "output", "config", "reporter"]
    assert places == [name for name in order if name in places] and {"inputs", "config", "reporter"} <= set(places)
    assert set(CONFIGS[verb].model_fields) <= set(signature.parameters), "every option is a keyword"


def test_the_demo_bears_the_same_names() -> None:
    assert list(inspect.signature(phantom.run).parameters) == [
        "output", "config", "reporter", *DemoConfig.model_fields,
    ]  # fmt: skip


class Seen(Exception):
    pass


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command up to its function, and gives the configuration that this gets."""
    monkeypatch.delenv("BRAINCLI_DEVICE", raising=False)
    monkeypatch.delenv("BRAINCLI_NUM_THREADS", raising=False)

    def invoke(command: str, *words: object) -> BaseModel:
        seen: list[BaseModel] = []

        def record(*arguments: Any, **_: Any) -> None:
            seen.extend(argument for argument in arguments if isinstance(argument, BaseModel))
            raise KeyboardInterrupt

        monkeypatch.setattr(phantom, "run", record)
        for verb in CONFIGS:
            monkeypatch.setattr(api, FUNCTIONS.get(verb, verb), record, raising=False)
        result = CliRunner().invoke(app, [*command.split(), *NEEDED[command], *map(str, words)])
        assert result.exit_code == 130 and seen, result.output
        return seen[0]

    return invoke


NEEDED = {
    "calibrate": ["--data", "x"], "check": ["x"], "demo": [], "detect": ["x", "-o", "y"], "preprocess": ["x"],
    "score": ["x", "y"], "split": ["x", "-o", "y"], "synth": ["x", "-o", "y"], "train": ["--data", "x", "-o", "y"],
    "translate": ["x", "-o", "y"], "explain": ["x", "-o", "y"],
    "classify train": ["x", "-o", "y"], "classify validate": ["x"], "classify predict": ["x"],
}  # fmt: skip


@pytest.mark.parametrize("command", CONFIGS)
def test_without_options_a_command_does_what_the_function_does(command: str, configured: Any) -> None:
    assert configured(command) == CONFIGS[command]()


def other(command: str, name: str) -> str:
    """Another value than the default, as the user writes it."""
    special = {
        "reference": "t2", "labels": "1,4", "contrasts": "t1,flair", "run": "2", "device": "cpu", "skip": "n4",
        "radius_mm": "3 4", "images": "3 4 5", "percentiles": "2 98", "steps": "a=3", "settings": "b=2",
        "connectivity": "6", "false_positive_rate": "0.2", "max_time": "01:30:00", "slices": "80:128", "slice_mm": "2",
        "series": "t1ce=7",
    }  # fmt: skip
    default = CONFIGS[command].model_fields[name].default
    if (command.partition(" ")[0], name) == ("classify", "steps"):
        return "9"
    if name in special:
        return special[name]
    if offered := choices(command, name):
        return next(choice for choice in offered if choice != default)
    return "7"


@pytest.mark.parametrize(("command", "name"), FIELDS, ids=[".".join(pair) for pair in FIELDS])
def test_every_option_reaches_the_configuration(command: str, name: str, configured: Any) -> None:
    option, default = parameter(command, name), getattr(CONFIGS[command](), name)
    if option.is_flag:
        words = [option.secondary_opts[0] if default else option.opts[0]]
    else:
        words = [option.opts[0], *other(command, name).split()]
    changed = configured(command, *words)
    assert getattr(changed, name) != default
    assert {key for key, value in changed if value != getattr(CONFIGS[command](), key)} == {name}


@pytest.mark.parametrize("command", [c for c, kind in CONFIGS.items() if {"device", "seed"} <= set(kind.model_fields)])
def test_flag_wins_over_environment_over_file_over_default(
    command: str, configured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('device = "mps"\nthreads = 3\nseed = 5\n')
    assert (configured(command).device, configured(command).threads) == ("auto", None)
    from_file = configured(command, "--config", file)
    assert (from_file.device, from_file.threads, from_file.seed) == ("mps", 3, 5)
    monkeypatch.setenv("BRAINCLI_DEVICE", "cuda:1")
    monkeypatch.setenv("BRAINCLI_NUM_THREADS", "2")
    from_environment = configured(command, "--config", file)
    assert (from_environment.device, from_environment.threads, from_environment.seed) == ("cuda:1", 2, 5)
    from_flags = configured(command, "--config", file, "--device", "cpu", "--threads", "1", "--seed", "0")
    assert (from_flags.device, from_flags.threads, from_flags.seed) == ("cpu", 1, 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["synth", "x", "-o", "y", "--radius-mm", "9", "3"], "--radius-mm: "),
        (["synth", "x", "-o", "y", "--count", "0"], "--count: 0 is below 1."),
        (["synth", "x", "-o", "y", "--kind", "ufo"], "--kind: ufo is not one of 'draem', 'pii'"),
        (["detect", "x", "-o", "y", "--seed", "-5"], "--seed: -5 is below 0."),
        (["detect", "x", "-o", "y", "--threshold", "nan"], "--threshold: nan is not a finite number."),
        (["detect", "x", "-o", "y", "--run", "second"], "--run: second is none of: first, last, or a number"),
        (["detect", "x", "-o", "y", "--on-oom", "cry"], "--on-oom: cry is not one of 'halve', 'cpu' or 'fail'."),
        (["preprocess", "x", "--skip", "lunch"], "--skip: lunch is not one of 'coregister', 'atlas'"),
        (["preprocess", "x", "--percentiles", "99", "1"], "--percentiles: "),
        (["score", "x", "y", "--labels", "tumour"], "--labels: tumour is not a whole number."),
        (["score", "x", "y", "--connectivity", "7"], "--connectivity: 7 is not one of 6, 18 or 26."),
        (["calibrate", "--data", "x", "--contrasts", "flair,pd"], "--contrasts: pd is not one of 't1', 't1ce'"),
        (["calibrate", "--data", "x", "--false-positive-rate", "1"], "--false-positive-rate: 1 is not below 1.0."),
        (["train", "--data", "x", "-o", "y", "--max-time", "soon"], "--max-time: soon is not a number"),
        (["detect", "x", "-o", "y", "--batch", "two"], "--batch: two is not a whole number."),
        (["detect", "x", "-o", "y", "--threshold", "low"], "--threshold: low is not a number."),
        (["synth", "x", "-o", "y", "--radius-mm", "3", "big"], "--radius-mm: big is not a number."),
        (["train", "--data", "x", "-o", "y", "--batch", "0"], "--batch: 0 is below 1."),
        (["classify", "validate", "x", "--folds", "1"], "--folds: 1 is below 2."),
        (["classify", "train", "x", "-o", "y", "--contrast", "pd"], "--contrast: pd is not one of 't1', 't1ce'"),
    ],
)
def test_a_bad_value_names_the_flag(words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split()), result.stderr
    assert (
        "pydantic" not in result.stderr and "Value error" not in result.stderr and "Input should" not in result.stderr
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--data", "x", "-o", "y", "--method", "vae", "--set", "width=wide"], "--set width: wide is not a"),
        (
            ["train", "--data", "x", "-o", "y", "--method", "vae", "--set", "lesson.vary=much"],
            "--set lesson.vary: much",
        ),
        (["train", "--data", "x", "-o", "y", "--method", "vae", "--set", "widht=3"], "Unknown option --set widht."),
        (["train", "--data", "x", "-o", "y", "--preset", "giant"], "--preset: tsgm has no preset 'giant'."),
        (["train", "--data", "x", "-o", "y", "--slice-mm", "900"], "--slice-mm: 900.0 is not 0.2 to 10 mm."),
        (["train", "--data", "x", "-o", "y", "--set", "contrasts=single"], "These options do not go together: redraw"),
    ],
)
def test_a_bad_option_of_a_method_names_the_flag(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("braincli.imaging.cases.find_cases", lambda path, **_: [Case("a")])
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and says in " ".join(result.stderr.split()), result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["detect", "x"], "-o OUT/"), (["detect", "--flair", "x"], "-o OUT/"), (["train", "--data", "x"], "-o MODEL/"),
        (["split", "x"], "-o PARTS/"), (["synth", "x"], "-o OUT/"),
    ],
)  # fmt: skip
def test_a_wrong_path_is_told_before_a_missing_output(
    words: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3 and "x: no such file or folder" in result.stderr, result.stderr
    (tmp_path / "x").mkdir()
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "Where should the result go?" in result.stderr and hint in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_calls_paths_path_and_names_no_types_of_python(command: str) -> None:
    text = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    assert not re.search(r"<[a-z\[]|TEXT|DIRECTORY|--[a-z-]+ FILE", text.replace("<case>", "")), text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("detect --model t", {"threshold", "tsgm"}), ("cite -m ts", {"tsgm"}), ("train --init s", {"sadm"}),
        ("train --method ts", {"tsgm"}), ("train --method ae --preset b", {"baur", "behrendt2024"}),
        ("train --preset p", {"paper"}), ("models ite", {"itermask"}), ("detect --contrast t1", {"t1", "t1ce"}),
        ("detect --contrast t1,f", {"t1,flair"}), ("calibrate --contrasts t1ce,t1,t", {"t1ce,t1,t2"}),
        ("split --contrasts fl", {"flair"}), ("weights fetch hd", {"hd-bet"}), ("detect --device cp", {"cpu"}),
        ("preprocess --skip n", {"n4", "normalise"}), ("preprocess --reference fl", {"flair"}),
    ],
)  # fmt: skip
def test_shells_complete_names(words: str, offered: set[str]) -> None:
    """As bash asks for them."""
    typed = f"braincli {words}".split()
    asked = {"COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1), "_BRAINCLI_COMPLETE": "complete_bash"}
    result = CliRunner().invoke(app, [], env=asked, prog_name="braincli")
    assert set(result.stdout.split()) == offered, result.output
