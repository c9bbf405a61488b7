"""Write what other systems read of the command line: Boutiques descriptors and the Apptainer definition.

Both come from the options that ``braincli`` itself parses, and from the Dockerfile: what they say cannot go out of
step with it. A test compares; ``python tools/describe.py`` writes them anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.cli import app
from braincli.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parents[1]
URL = "https://github.com/braincli/braincli"
VERBS = ("preprocess", "detect", "score")  # what takes a cohort to results
WRITTEN = ("output", "uncertainty")  # paths that need not be there
NEEDED = {"detect": ("output",)}  # what the command asks for in words of its own


def commands() -> dict[str, Any]:
    """Every command of the command line, by name."""
    found: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009
    return found


def options(command: Any) -> list[Any]:
    """Its parameters but --help, what it works on first."""
    params = [each for each in command.params if each.name != "help"]
    return sorted(params, key=lambda each: each.param_type_name != "argument")


def flag(param: Any) -> str:
    """How it is called: of a switch that is on by itself, how it is turned off."""
    return str(max(param.secondary_opts or param.opts, key=len))


def boutiques(verb: str) -> dict[str, Any]:
    """The descriptor of a command, by Boutiques' schema 0.5 (Glatard et al. 2018, GigaScience 7:giy016)."""
    command = commands()[verb]
    inputs = [_input(verb, param) for param in options(command)]
    docker = dockerfile()
    return {
        "name": f"braincli-{verb}",
        "tool-version": __version__,
        "schema-version": "0.5",
        "description": f"{_paragraphs(command)[0]} {RESEARCH_USE_ONLY}",
        "url": URL,
        "command-line": " ".join([f"braincli {verb}", *(each["value-key"] for each in inputs)]),
        "container-image": {"type": "docker", "image": "braincli"},
        "inputs": inputs,
        "output-files": [
            {
                "id": "results",
                "name": "Results",
                "description": _help(next(param for param in command.params if param.name == "output")),
                "path-template": "[OUTPUT]",
                "optional": True,
            }
        ],
        "error-codes": [{"code": code, "description": text} for code, text in EXIT_CODES.items() if code],
        "tags": {"domain": ["neuroinformatics", "mri", "anomaly-detection"], "license": docker["licenses"]},
    }


def _input(verb: str, param: Any) -> dict[str, Any]:
    """One parameter. Choices, numbers and paths are told by what the help calls their values."""
    called = param.metavar or ""
    content: dict[str, Any] = {
        "id": param.name,
        "name": param.name.replace("_", " "),
        "description": _help(param),
        "optional": not (param.required or param.name in NEEDED.get(verb, ())),
        "value-key": f"[{param.name.upper()}]",
        "type": "String",
    }
    if param.param_type_name != "argument":
        content["command-line-flag"] = flag(param)
    if getattr(param, "is_flag", False):
        return content | {"type": "Flag", "optional": True}
    if re.fullmatch(r"\[[a-z0-9|-]+\]", called):
        content["value-choices"] = called.strip("[]").split("|")
    elif called in ("INT", "FLOAT", "LOW HIGH"):
        content |= {"type": "Number", "integer": called == "INT"}
    elif param.name not in WRITTEN and (called in ("PATH", "FILE") or param.param_type_name == "argument"):
        content["type"] = "File"
    if param.nargs != 1 or getattr(param, "multiple", False):
        content["list"] = True
    if getattr(param, "multiple", False):
        content["list-separator"] = f" {flag(param)} "  # each value has its own
    elif param.nargs > 1:
        content |= {"min-list-entries": param.nargs, "max-list-entries": param.nargs}
    return content


def _help(param: Any) -> str:
    return str(param.help or "")


def _paragraphs(command: Any) -> list[str]:
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n")]


def dockerfile() -> dict[str, Any]:
    """What the Dockerfile says: base image, package index, environment, labels."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = {
        "base": re.findall(r"^FROM (\S+)", text, re.MULTILINE)[-1],
        "index": re.findall(r"^ARG TORCH_INDEX=(\S+)", text, re.MULTILINE)[0],
        "environment": " ".join(re.findall(r"^ENV (.*)", text, re.MULTILINE)[0].split()),
    }
    return found | dict(re.findall(r'org\.opencontainers\.image\.(title|description|licenses|source)="([^"]*)"', text))


def installed() -> list[str]:
    """What an installation needs of this folder, as .dockerignore has it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return sorted(line[1:] for line in lines if line.startswith("!"))


def apptainer() -> str:
    """The definition of an image for clusters: one app per command of a cohort, with its options as its help."""
    docker = dockerfile()
    environment = " ".join(word for word in docker["environment"].split() if not word.startswith("HOME="))
    sections = [
        f"Bootstrap: docker\nFrom: {docker['base']}",
        _section("arguments", f"TORCH_INDEX={docker['index']}"),
        _section("files", *(f"{name} /src/{name}" for name in installed())),
        _section(
            "post",
            "set -e",
            "python -m venv /opt/braincli",
            '/opt/braincli/bin/pip install --no-cache-dir --extra-index-url "{{ TORCH_INDEX }}" '
            "-c /src/constraints.txt '/src[dicom]'",
            "rm -rf /src",
        ),
        _section("environment", f"export {environment}"),
        _section("runscript", 'exec braincli "$@"'),
        _section("test", "/opt/braincli/bin/braincli --version"),
        _section(
            "labels",
            *(f"org.opencontainers.image.{name} {docker[name]}" for name in ("title", "licenses", "source")),
            f"org.opencontainers.image.version {__version__}",
        ),
        _section("help", docker["description"], "", *(f"{name}: {_first(each)}" for name, each in commands().items())),
    ]
    for verb in VERBS:
        sections.append(_section(f"apprun {verb}", f'exec braincli {verb} "$@"'))
        sections.append(_section(f"apphelp {verb}", _first(commands()[verb]), "", *_usage(commands()[verb])))
    head = (
        "# Written by tools/describe.py from the Dockerfile and the command line's own options: not to be edited.\n"
        "# Build:  apptainer build braincli.sif Apptainer.def        (GPU: --build-arg "
        "TORCH_INDEX=https://download.pytorch.org/whl/cu128)\n"
        '# Run:    apptainer run [--nv] --bind "$PWD" braincli.sif detect --model tsgm sub01/ -o out/\n'
        '# Array:  braincli slurm detect COHORT -o OUT --array 32 --command "apptainer run braincli.sif"'
    )
    return "\n\n".join([head, *sections]) + "\n"


def _section(name: str, *lines: str) -> str:
    return "\n".join([f"%{name}", *(f"    {line}".rstrip() for line in lines)])


def _first(command: Any) -> str:
    """The first sentence or two of a command's help."""
    return _paragraphs(command)[0]


def _usage(command: Any) -> Iterator[str]:
    """A line for each option."""
    for param in options(command):
        value = "" if getattr(param, "is_flag", False) else f" {param.metavar}"
        called = param.metavar if param.param_type_name == "argument" else f"{flag(param)}{value}"
        yield f"{called}: {' '.join(_help(param).split())}"


def files() -> dict[Path, str]:
    """Everything that is written, by its place."""
    described = {
        ROOT / "boutiques" / f"braincli-{verb}.json": json.dumps(boutiques(verb), indent=2, ensure_ascii=False) + "\n"
        for verb in VERBS
    }
    return {ROOT / "Apptainer.def": apptainer()} | described


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
