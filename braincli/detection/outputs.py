"""Names and writing of what ``detect`` leaves behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from braincli.config import DetectConfig
from braincli.detection.find import Findings
from braincli.detection.lesions import table_json, table_tsv
from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Contrast, stem
from braincli.imaging.volume import Volume
from braincli.reporting.figures import restoration_figure
from braincli.runtime import files
from braincli.runtime.provenance import RunRecord

ATLAS_SPACE = "SRI24"


@dataclass(frozen=True)
class Names:
    """Where the outputs of one case go: a folder of its own, or beside one mask file that the user named.

    Attributes:
        target: ``OUT/<case>/<case>`` (a prefix) or the mask file.
        single: ``target`` is the mask file.
    """

    target: Path
    single: bool

    @classmethod
    def of(cls, case_id: str, output: Path) -> Names:
        """Names for ``case_id`` below the folder ``output``, or of the file ``output`` (.nii, .nii.gz)."""
        if is_file(output):
            return cls(output, True)
        safe = re.sub(r"[^\w.\-]+", "_", case_id).lstrip(".") or "case"
        return cls(output / safe / safe, False)

    def volume(self, kind: str, space: str = "") -> Path:
        """A volume: ``mask``, ``anomaly``, ``restored-flair`` ...; ``space`` for raw cases."""
        if self.single:
            if kind == "mask":
                return self.target
            return self.target.with_name(f"{stem(self.target)}_{kind}{self.target.name[len(stem(self.target)) :]}")
        entity = f"_space-{space}" if space else ""
        return self.target.with_name(f"{self.target.name}{entity}_{kind}.nii.gz")

    def record(self) -> Path:
        """The run record, written last."""
        if self.single:
            return self.target.with_name(f"{stem(self.target)}.json")
        return self.target.with_name(f"{self.target.name}_record.json")

    def table(self, suffix: str) -> Path:
        """The lesion table, ``.json`` or ``.tsv``."""
        return self.target.with_name(f"{self.target.name}_lesions{suffix}")

    def picture(self) -> Path:
        """The picture."""
        return self.target.with_name(f"{self.target.name}_figure.png")


def is_file(output: Path) -> bool:
    """Whether the user named a mask file rather than a folder."""
    return output.name.lower().endswith((".nii", ".nii.gz"))


@dataclass
class Writer:
    """Writes the outputs of one case, notes them in the record, and the record last.

    Attributes:
        inputs: never overwritten, whatever the options say.
        replace: existing files may be replaced.
    """

    names: Names
    config: DetectConfig
    record: RunRecord
    inputs: list[Path] = field(default_factory=list)
    replace: bool = False

    def planned(self, contrasts: tuple[Contrast, ...], *, raw: bool) -> Iterator[Path]:
        """Every file that will be written."""
        space = ATLAS_SPACE if raw and not self.names.single else ""
        yield self.names.volume("mask", space)
        if self.config.anomaly_map:
            yield self.names.volume("anomaly", space)
        if self.config.uncertainty is not None:
            yield self.config.uncertainty
        elif self.uncertain:
            yield self.names.volume("uncertainty", space)
        for contrast in contrasts:
            if self.config.restored:
                yield self.names.volume(f"restored-{contrast}", space)
                if space:
                    yield self.names.volume(str(contrast), space)
            if self.config.residual:
                yield self.names.volume(f"residual-{contrast}", space)
            if space:
                yield self.names.volume("mask", contrast)
                if self.config.anomaly_map:
                    yield self.names.volume("anomaly", contrast)
                if self.uncertain:
                    yield self.names.volume("uncertainty", contrast)
        if not self.names.single:
            yield from (self.names.table(".json"), self.names.table(".tsv"))
            if self.config.figure:
                yield self.names.picture()
        yield self.names.record()

    def refuse(self, contrasts: tuple[Contrast, ...], *, raw: bool) -> None:
        """Raise before any work is done if a planned file may not be written.

        Raises:
            UsageError: a file exists (and was left by a complete run, with ``resume``).
            InputError: a file is an input.
        """
        leftovers = self.config.resume and not self.names.record().exists()
        self.replace = self.config.overwrite or leftovers
        try:
            for path in self.planned(contrasts, raw=raw):
                files.refuse_overwrite(path, overwrite=self.replace, inputs=self.inputs)
        except UsageError as error:
            if not self.config.resume:
                raise
            raise UsageError(
                f"{error.message} It comes from a run with other inputs, options or model.", error.hint
            ) from None

    def begin(self) -> None:
        """Take away the old record: from here on the outputs are not complete."""
        self.names.record().unlink(missing_ok=True)

    def volume(self, content: Volume, kind: str, space: str = "") -> Path:
        """Write one volume."""
        path = self.names.volume(kind, space)
        volume.save(content, path, overwrite=self.replace, inputs=self.inputs)
        return self.record.add_output(path)

    @property
    def uncertain(self) -> bool:
        """Whether uncertainty goes to the case's folder: there are samples, and no file was named."""
        return self.config.samples > 1 and self.config.uncertainty is None and not self.names.single

    def uncertainty(self, content: Volume | None, space: str = "") -> None:
        """Write the uncertainty to where it was asked for.

        A file that the user named lies anywhere: the record holds its name and hash among the facts.
        """
        path = self.config.uncertainty
        if content is not None and self.uncertain:
            self.volume(content, "uncertainty", space)
        elif content is not None and path is not None and space != ATLAS_SPACE:
            volume.save(content, path, overwrite=self.replace, inputs=self.inputs)
            self.record.facts["uncertainty"] = {"file": path.name, "sha256": files.sha256(path)}

    def maps(self, found: Findings, space: str = "") -> None:
        """The volumes that were asked for, on the grid that was searched."""
        if self.config.anomaly_map:
            self.volume(found.anomaly, "anomaly", space)
        self.uncertainty(found.uncertainty, space)
        for contrast, image in found.images.items():
            if self.config.restored:
                self.volume(found.restored_like_input(contrast), f"restored-{contrast}", space)
                if space:
                    self.volume(image, str(contrast), space)
            if self.config.residual:
                self.volume(found.residual(contrast), f"residual-{contrast}", space)

    def summary(self, found: Findings, title: str, reference: Volume | None = None) -> None:
        """Lesion table and picture, in folders only: beside a single mask the record holds the table."""
        content = table_json(found.lesions)
        self.record.facts["lesions"] = content
        if self.names.single:
            return
        files.write_text(self.names.table(".tsv"), table_tsv(found.lesions))
        files.write_json(self.names.table(".json"), {"case": self.record.case, **content})
        for suffix in (".json", ".tsv"):
            self.record.add_output(self.names.table(suffix))
        if self.config.figure:
            contrast = next(reversed(found.images))
            restored = found.restored(contrast) if found.has_restoration else None
            restoration_figure(
                self.names.picture(), found.images, mask=found.mask, brain=found.brain.data,
                restored={contrast: restored} if restored is not None and restored.data.any() else None,
                anomaly=found.anomaly, threshold=found.threshold, reference=reference,
                title=title, overwrite=self.replace,
            )  # fmt: skip
            self.record.add_output(self.names.picture())

    def finish(self) -> Path:
        """Write the record: the case is complete."""
        self.record.write(self.names.record())
        return self.names.record()
