"""What came of the cases that ``detect`` worked through."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Attributes:
        status: ``done``, ``skipped`` (complete already) or ``failed``.
        masks: base names of the masks by space (``""``: the input's own grid).
        lesions, volume_ml: of the mask; None where the case failed.
        error, exit_code: why it failed.
    """

    case: str
    status: str
    masks: dict[str, str] = field(default_factory=dict)
    lesions: int | None = None
    volume_ml: float | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class DetectReport:
    """What came of all cases, in order of id."""

    model: str
    cases: list[CaseResult]

    @property
    def failures(self) -> list[CaseResult]:
        """The cases that failed."""
        return [case for case in self.cases if case.status == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {"model": self.model, "cases": [asdict(case) for case in self.cases]}

    def table(self) -> str:
        """One line per case, for people."""
        width = max((len(case.case) for case in self.cases), default=0)
        lines = [f"{'case':{width}}  status   lesions  volume"]
        for case in self.cases:
            figures = case.error.partition("\n")[0]
            if case.status != "failed":
                figures = f"{case.lesions:7d}  {case.volume_ml:.1f} ml"
            lines.append(f"{case.case:{width}}  {case.status:7}  {figures}")
        return "\n".join(lines)
