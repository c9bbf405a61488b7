"""The outputs of one run, replaced as one: whatever happens, they are complete or known not to be.

Order: the old state, complete; a *running* record in its record's place, which names what is going to be written;
the outputs, each of them atomically; what the earlier run left and this one does not; the *done* record. Killed before
the running record, the old state is still complete; killed after it, nothing says that it is, and ``--resume`` does
all of it again.

Only records entitle to replace or remove a file: what lies there and no record of the same command names is the
user's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from socket import gethostname
from typing import Any

from braincli import __version__
from braincli.errors import BraincliError, ResourceError, UsageError
from braincli.runtime import files
from braincli.runtime.provenance import RunRecord, is_damaged, sealed

OWN_NAME = "_record.json"  # of records that can hardly be anybody else's
LONGEST = 255  # bytes of a file's name
OTHER_RUN = "It comes from a run with other inputs, options or model."
REPLACE = "Add --overwrite to replace it, or choose another name."


@dataclass(frozen=True)
class Earlier:
    """What an earlier run of the same command left, by its record; nothing where there is no such record, or a damaged
    one.

    Attributes:
        content: of the record.
        outputs: name in the record's folder -> SHA-256; None where it may not have been written.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path, command: str) -> Earlier:
        """What the record ``path`` says."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return cls()
        if not isinstance(content, dict) or "braincli" not in content or content.get("command") != command:
            return cls()
        if is_damaged(content):
            return cls()
        named = _mapping(content, "stale") | _mapping(content, "optional") | _mapping(content, "outputs")
        return cls(content, {name: digest for name, digest in named.items() if _is_below(name)})

    @property
    def complete(self) -> bool:
        """Whether it got to its end."""
        return self.content.get("status") == "done"

    def is_of(self, record: RunRecord) -> bool:
        """Whether it was the same run: inputs, options, weights."""
        return self.complete and self.content.get("identity") == record.identity()


@dataclass
class Transaction:
    """What one run is going to write; hold the lock of its folder while it lives.

    Attributes:
        path: of the record.
        planned: every output in the record's folder or below it.
        inputs: never overwritten, nor are the JSON files of their names.
        elsewhere: role -> output that the user put into another folder.
        overwrite: files that exist may be replaced.
        own_only: but only those that an earlier run wrote.
        resume: what an earlier run with the same identity lost may be made again.
        readable: whether a file holds something: then it is no damaged output but one that was changed by hand.
    """

    path: Path
    record: RunRecord
    planned: Sequence[Path]
    inputs: Sequence[Path] = ()
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    overwrite: bool = False
    own_only: bool = False
    resume: bool = False
    readable: Callable[[Path], bool] = lambda path: False

    @cached_property
    def earlier(self) -> Earlier:
        """What lies there when the run begins."""
        return Earlier.at(self.path, self.record.command)

    def is_done(self) -> bool:
        """Whether the same run has been completed and all its outputs are as it left them."""
        if not self.earlier.is_of(self.record):
            return False
        try:
            known = _mapping(self.earlier.content, "outputs")
            if any(files.sha256(self.path.parent / name) != digest for name, digest in known.items()):
                return False
            there = _mapping(self.earlier.content, "elsewhere")
            return set(there) == set(self.elsewhere) and all(
                files.sha256(path) == there[role]["sha256"] for role, path in self.elsewhere.items()
            )
        except (OSError, KeyError, TypeError):
            return False

    def refuse(self) -> None:
        """Raise before any work is done if something may not be written.

        Raises:
            UsageError: a file exists that this run may not replace, or two outputs have one name.
            InputError: an output is an input.
            ResourceError: the folder cannot be written to.
        """
        outputs = [*self.planned, *self.elsewhere.values()]
        _refuse_names([*outputs, self.path])
        for folder in {path.parent for path in (*outputs, self.path)}:
            _refuse_folder(folder)
        sidecars = [_sidecar(path) for path in self.inputs]
        for path in (*outputs, self.path):
            files.refuse_overwrite(path, overwrite=True, inputs=[*self.inputs, *sidecars])
        for path in self.planned:
            self._refuse_file(path, self.earlier.outputs, self._name(path))
        for role, path in self.elsewhere.items():
            self._refuse_file(path, self._known_elsewhere(), f"{role} {_place(path)}")
        self._refuse_record()
        for name, digest in self._stale().items():
            if self._is_edited(self.path.parent / name, digest):
                raise UsageError(
                    f"{name}, of the earlier run, was changed since, and this run has no {name}.", "Move it away."
                )

    def begin(self) -> None:
        """Write the running record: from here on the outputs are not complete.

        Raises:
            UsageError, InputError, ResourceError: as :meth:`refuse`, of what was put there meanwhile.
        """
        self.refuse()
        for folder in {path.parent for path in (*self.planned, *self.elsewhere.values(), self.path)}:
            files.sweep(folder)
        content = {
                "braincli": __version__, "command": self.record.command, "case": self.record.case,
                "status": "running", "identity": self.record.identity(),
                "outputs": {self._name(path): None for path in self.planned},
                "elsewhere": {role: {"file": p.name, "place": _place(p)} for role, p in self.elsewhere.items()},
                "stale": self._stale(), "process": {"pid": os.getpid(), "host": gethostname()},
        }  # fmt: skip
        files.write_json(self.path, sealed(content))

    def add(self, path: Path, *, optional: bool = False) -> Path:
        """Note a finished output (``optional``: the user may delete it)."""
        for role, place in self.elsewhere.items():
            if path == place:
                facts = {"file": path.name, "sha256": files.sha256(path), "place": _place(path)}
                self.record.elsewhere[role] = facts
                return path
        (self.record.optional if optional else self.record.outputs)[self._name(path)] = files.sha256(path)
        return path

    def finish(self, error: BraincliError | None = None) -> Path:
        """Take away what the earlier run left and this one does not, and write the record.

        Args:
            error: why the outputs are not all there; the record says so, and is no done-record.
        """
        written = {*self.record.outputs, *self.record.optional}
        self.planned = [path for path in self.planned if self._name(path) in written]
        for name, digest in self._stale().items():
            path = self.path.parent / name
            if path.is_file() and (digest is None or files.sha256(path) == digest):
                path.unlink()
        content = self.record.as_dict()
        if error is not None:
            content |= {"status": "failed", "error": error.message, "exit_code": error.exit_code}
        files.write_json(self.path, sealed(content))
        return self.path

    def _stale(self) -> dict[str, str | None]:
        """What the earlier run left and this one is not going to write."""
        folder = self.path.parent.resolve()
        kept = {path.resolve() for path in (*self.planned, *self.elsewhere.values())}
        return {name: digest for name, digest in self.earlier.outputs.items() if folder / name not in kept}

    def _known_elsewhere(self) -> dict[str, str | None]:
        known = _mapping(self.earlier.content, "elsewhere")
        places = {f"{role} {facts.get('place')}": facts for role, facts in known.items() if isinstance(facts, dict)}
        return {key: facts.get("sha256") for key, facts in places.items()}

    def _refuse_file(self, path: Path, known: Mapping[str, str | None], key: str) -> None:
        """Raise where ``path`` exists and is neither an incomplete run's nor given up by an option."""
        if not os.path.lexists(path):
            return
        own = key in known
        if own and not self.earlier.complete:
            return
        if self.overwrite and (own or not self.own_only):
            return
        if self.overwrite:
            raise UsageError(
                f"{path.name} was not written by braincli {self.record.command}.",
                "It is never replaced: move it away, or choose another folder.",
            )
        if not self.resume:
            files.refuse_overwrite(path, overwrite=False)
        if not (own and self.earlier.is_of(self.record)):
            whose = OTHER_RUN if own else "No record says that an earlier run wrote it."
            raise UsageError(f"The output {path.name} exists. {whose}", REPLACE)
        if self._is_edited(path, known[key]):
            raise UsageError(
                f"{path.name} was changed since it was written.",
                "Move it away and it is made again, or add --overwrite to replace it.",
            )

    def _refuse_record(self) -> None:
        """A record may be replaced where it is one, and of an incomplete run, of the same one, or given up."""
        if not os.path.lexists(self.path):
            return
        if self.earlier.content:
            self._refuse_other_run()
        elif not (self.overwrite and self.path.name.endswith(OWN_NAME)):
            raise UsageError(
                f"{self.path.name}, where the record goes, was not written by braincli {self.record.command}.",
                "It is never replaced: choose another output.",
            )

    def _refuse_other_run(self) -> None:
        if not self.earlier.complete or self.overwrite or (self.resume and self.earlier.is_of(self.record)):
            return
        if not self.resume:
            files.refuse_overwrite(self.path, overwrite=False)
        raise UsageError(f"The output {self.path.name} exists. {OTHER_RUN}", REPLACE)

    def _is_edited(self, path: Path, digest: str | None) -> bool:
        """Whether a finished output was replaced by something that can be read."""
        if digest is None or not path.is_file():
            return False
        return files.sha256(path) != digest and self.readable(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path.parent).as_posix()


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _is_below(name: str) -> bool:
    """Whether a record's name stays in the record's folder, whoever wrote it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _sidecar(path: Path) -> Path:
    name = path.name.removesuffix(".gz")
    return path.with_name(f"{name.removesuffix('.nii')}.json")


def _place(path: Path) -> str:
    """A path that records can compare without telling it."""
    return sha256(os.fsencode(path.resolve())).hexdigest()


def _refuse_names(outputs: Sequence[Path]) -> None:
    """Raise where two outputs have one name, or one has a name that no file system takes."""
    for path in outputs:
        if long := [part for part in path.parts if len(os.fsencode(part)) > LONGEST]:
            size = len(os.fsencode(long[0]))
            raise UsageError(
                f"The output name {long[0][:40]}... is too long ({size} bytes, at most {LONGEST}).",
                "Give the case a shorter id: rename it, or name it in a .tsv manifest.",
            )
    places = [path.resolve() for path in outputs]
    for path, place in zip(outputs, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"Two outputs would be called {path.name}.", "Choose another name for one of them.")


def _refuse_folder(folder: Path) -> None:
    """Raise where ``folder`` cannot be written to, or made."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"{folder.name or folder} is not a folder.", "Choose another output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResourceError(f"Cannot write to {folder.name or folder}.", "Check the folder's permissions.")
