"""Items of a cohort that tell by their ids what becomes of them, and who listens."""

from __future__ import annotations

from dataclasses import dataclass

from braincli.errors import BraincliError, InputError, QualityError
from braincli.runtime.progress import Reporter


@dataclass(frozen=True)
class Item:
    id: str
    problem: BraincliError | None = None


@dataclass(frozen=True)
class Result:
    case: str

    def as_dict(self) -> dict[str, str]:
        return {"case": self.case}


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def work(item: Item) -> Result:
    match item.id:
        case "bad":
            raise InputError("bad.nii is\ntruncated.", "Copy it again.")
        case "bug":
            raise IndexError("list index out of range")
        case "big":
            raise MemoryError
        case "poor":
            raise QualityError("poor: brain of 3 ml.")
    return Result(item.id)


def items(*ids: str) -> list[Item]:
    return [Item(id) for id in ids]
