"""What to cite: read from ``references.toml``, written as text, BibTeX or CITATION.cff."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braincli import __version__

SOURCE = Path(__file__).with_name("references.toml")
TITLE = "braincli: pseudo-healthy restoration, anomaly maps and lesion masks from raw brain MRI"
REPOSITORY = "https://github.com/braincli/braincli"
ALWAYS = ("nibabel",)  # what every run stands on, and the steps of preprocessing by the name that --skip gives them
VOLUMES = "Inception-ResNet-v1"  # the network of all classifiers of volumes
STEPS = {"atlas": "SRI24", "brain": "HD-BET", "coregister": "ANTs", "n4": "N4"}
DATA = {"BraTS": re.compile("brats|tcga|tcia", re.IGNORECASE), "OASIS": re.compile("oasis", re.IGNORECASE)}  # ids
MESSAGE = "If you use braincli, please cite it and the works behind the parts that you used."


@dataclass(frozen=True)
class Reference:
    """One work; empty strings are unknown. ``authors`` are ``Family, Given``; a last ``others`` shortens."""

    key: str
    part: str
    authors: tuple[str, ...]
    title: str
    year: int
    journal: str = ""
    conference: str = ""
    publisher: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    page: str = ""

    @property
    def url(self) -> str:
        """Where the work is: its DOI, else its preprint, else its page in the proceedings."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.page

    @property
    def venue(self) -> str:
        """Journal with volume and pages, conference, publisher or preprint server."""
        where = self.journal or self.conference or self.publisher or f"arXiv:{self.arxiv}"
        volume = f" {self.volume}({self.number})" if self.number else f" {self.volume}" if self.volume else ""
        pages = f"{':' if self.journal else ', '}{self.pages}" if self.pages else ""
        return f"{where}{volume}{pages}"


def references() -> list[Reference]:
    """All works to cite, method first, data last."""
    entries = tomllib.loads(SOURCE.read_text(encoding="utf-8"))["reference"]
    return [Reference(**{**entry, "authors": tuple(entry["authors"])}) for entry in entries]


def chosen(parts: Iterable[str]) -> list[Reference]:
    """The works whose part of braincli names one of ``parts`` as a word."""
    wanted = re.compile("|".join(rf"(?<![\w-]){re.escape(part)}(?![\w-])" for part in parts))
    return [each for each in references() if wanted.search(each.part)]


def about(*parts: str) -> list[tuple[str, str, str]]:
    """What for, the work and where it is, of each of :func:`chosen`."""
    return [(each.part, _work(each), each.url) for each in chosen(parts)]


def parts_of_model(method: str, cases: Iterable[str]) -> list[str]:
    """What a model stands on: its method, and the data sets that the ids of its training cases name."""
    ids = list(cases)
    return [method, *ALWAYS, *(data for data, named in DATA.items() if any(map(named.search, ids)))]


def parts_of_record(record: Mapping[str, Any]) -> list[str]:
    """What a run of ``preprocess`` or ``detect`` stood on, but for its model's data: from the content of its record."""
    config, facts = record["config"], record["facts"]
    method = [str(facts["model"]["method"])] if record["command"] == "detect" else []
    raw = record["command"] == "preprocess" or config.get("preprocess")
    space = config.get("space", "sri24")
    left_out = {*config.get("skip", ()), *(["atlas"] if space == "native" else [])}
    steps = STEPS | ({"atlas": "MNI152"} if space == "mni152" else {})
    return [*method, *ALWAYS, *(part for step, part in steps.items() if raw and step not in left_out)]


def as_text(works: Sequence[Reference] | None = None, version: str = __version__) -> str:
    """One paragraph per work (of all, or of ``works``), headed by the part of braincli that stands on it."""
    software = f"braincli {version}. {TITLE}. {REPOSITORY}"
    return "\n\n".join([MESSAGE, software, *map(_paragraph, references() if works is None else works)])


def as_bibtex(works: Sequence[Reference] | None = None, version: str = __version__) -> str:
    """One BibTeX entry per work."""
    software = {"title": f"{{{TITLE}}}", "author": "{braincli contributors}", "version": f"{{{version}}}"}
    entries = [_entry("software", "braincli", {**software, "url": f"{{{REPOSITORY}}}"})]
    return "\n\n".join(entries + [_bibtex(reference) for reference in (references() if works is None else works)])


def as_cff(works: Sequence[Reference] | None = None, version: str = __version__) -> str:
    """The contents of ``CITATION.cff`` (Citation File Format 1.2.0)."""
    lines = [
        "# Written by `braincli cite --cff`; edit braincli/reporting/references.toml.",
        "cff-version: 1.2.0",
        f"message: {_quoted(MESSAGE)}",
        "type: software",
        f"title: {_quoted(TITLE)}",
        f"version: {_quoted(version)}",
        "license: Apache-2.0",
        f"repository-code: {_quoted(REPOSITORY)}",
        "authors:",
        '  - name: "braincli contributors"',
        "references:",
    ]
    for reference in references() if works is None else works:
        lines += _cff(reference)
    return "\n".join(lines)


def _paragraph(reference: Reference) -> str:
    """Two lines: for what, and the reference."""
    return f"{reference.part}:\n  {_work(reference)} {reference.url}"


def _work(reference: Reference) -> str:
    """Authors, year, title and venue."""
    names = [_short(author) for author in reference.authors]
    listed = ", ".join(names[:-1]) + " et al." if names[-1] == "others" else ", ".join(names)
    return f"{listed} ({reference.year}). {reference.title}. {reference.venue}."


def _short(author: str) -> str:
    """``Family GN`` of ``Family, Given Names``."""
    family, _, given = author.partition(", ")
    initials = "".join(part[0] for part in given.replace("-", " ").split())
    return f"{family} {initials}".rstrip()


def _bibtex(reference: Reference) -> str:
    kind = "article" if reference.journal else "inproceedings" if reference.conference else "misc"
    fields = {
        "author": "{" + " and ".join(reference.authors) + "}",
        "title": f"{{{{{reference.title}}}}}",  # double braces keep the capitals
        "year": f"{{{reference.year}}}",
    }
    named = {
        "journal": reference.journal,
        "booktitle": reference.conference,
        "publisher": reference.publisher,
        "volume": reference.volume,
        "number": reference.number,
        "pages": reference.pages.replace("-", "--"),
        "doi": reference.doi,
        "eprint": reference.arxiv,
        "archiveprefix": "arXiv" if reference.arxiv else "",
        "url": reference.page,
    }
    return _entry(kind, reference.key, fields | {key: f"{{{value}}}" for key, value in named.items() if value})


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    body = ",\n".join(f"  {name} = {value}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{body}\n}}"


def _cff(reference: Reference) -> list[str]:
    kind = "article" if reference.journal else "conference-paper" if reference.conference else "generic"
    lines = [f"  - type: {kind}", f"    title: {_quoted(reference.title)}", "    authors:"]
    for author in reference.authors:
        family, _, given = author.partition(", ")
        if given:
            lines += [f"      - family-names: {_quoted(family)}", f"        given-names: {_quoted(given)}"]
        else:
            lines += [f"      - name: {_quoted(family)}"]
    first, _, last = reference.pages.partition("-")
    named = {
        "journal": reference.journal,
        "volume": reference.volume,
        "issue": reference.number,
        "start": first,
        "end": last,
        "doi": reference.doi,
    }
    lines += [f"    year: {reference.year}"]
    if reference.conference:
        lines += ["    conference:", f"      name: {_quoted(reference.conference)}"]
    if reference.publisher:
        lines += ["    publisher:", f"      name: {_quoted(reference.publisher)}"]
    lines += [f"    {key}: {_quoted(value)}" for key, value in named.items() if value]
    return [*lines, f"    url: {_quoted(reference.url)}", f"    notes: {_quoted(reference.part)}"]


def _quoted(text: str) -> str:
    """A YAML string: JSON's quoting is YAML's."""
    return json.dumps(text, ensure_ascii=False)
