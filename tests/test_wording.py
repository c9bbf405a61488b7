"""Numbers and nouns in messages agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import braincli
from braincli.wording import counted

NOUNS = "cases|slices|steps|patients|parts|files|lesions|scans|jobs|pictures"
MANY = {  # where the number is at least 2, or stands for itself
    ("api", "cases"), ("imaging.case", "cases"), ("imaging.checks.gate", "slices"), ("imaging.dicom.series", "slices"),
    ("imaging.dicom.series", "files"), ("imaging.folder", "files"), ("imaging.archive", "files"),
    ("detection.run", "cases"), ("scoring.given", "cases"), ("translation.translate", "cases"),
    ("training.loop", "steps"), ("scoring.matching", "scans"), ("imaging.cases", "scans"),
    ("runtime.workers", "jobs"), ("model.card", "steps"),
}  # fmt: skip


@pytest.mark.parametrize(("number", "told"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (1200, "1,200 cases")])
def test_a_noun_agrees_with_its_number(number: int, told: str) -> None:
    assert counted(number, "case") == told


def test_no_message_counts_things_without_looking_at_their_number() -> None:
    found = set()
    root = Path(braincli.__file__).parent
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        for text in (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.JoinedStr)):
            for before, after in zip(text.values, text.values[1:], strict=False):
                if isinstance(before, ast.FormattedValue) and isinstance(after, ast.Constant):
                    match = re.match(rf" (?:\w+ )?({NOUNS})\b", str(after.value))
                    found |= {(name, match.group(1))} if match else set()
    assert found <= MANY, sorted(found - MANY)
