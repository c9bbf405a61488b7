"""``train``: cases in, model folder out."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.config import TrainConfig, to_toml
from braincli.errors import InputError, UsageError
from braincli.imaging.case import taken
from braincli.imaging.cases import CONTRASTS, Case
from braincli.methods import registry
from braincli.model import earlier
from braincli.model.folder import LoadedModel, load_model, read_info, save_model
from braincli.model.info import ModelInfo, Training
from braincli.runtime import device as devices
from braincli.runtime import files
from braincli.runtime.locks import locked
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import fingerprint
from braincli.training.output import CONFIG, FILES, Output
from braincli.training.store import SliceStore, build_store, identity, is_built, open_store, refuse_common
from braincli.weights import pretrained

if TYPE_CHECKING:
    import torch

    from braincli.methods.base import Method
    from braincli.training.signals import Request
    from braincli.training.validation import Validation

# options that say how a training runs, not what comes of it
HOW = {"resume", "overwrite", "dry_run", "device", "threads", "max_time", "store"} | {
    "checkpoint_minutes", "keep_checkpoints"
}  # fmt: skip


def train_cases(
    cases: Sequence[Case], config: TrainConfig, out: Path, reporter: Reporter, *, validation: Sequence[Case] = ()
) -> ModelInfo | None:
    """Train ``config.method`` on prepared ``cases`` and write the model folder ``out``.

    Slice store, checkpoints and resolved options lie in ``out/work`` until training is complete
    (:mod:`braincli.training.output`). Under torchrun every process calls this; the first one writes, and holds the
    folder against other trainings.

    Args:
        validation: cases that choose among the weights (:mod:`braincli.training.validation`).

    Returns:
        What was written (where ``resume`` finds a complete model: what is there), or None if training stopped before
        its end (``dry_run``, ``max_time``, SIGTERM or SIGUSR1; run again with ``resume``). What stops in its last stage
        leaves a model all the same, whose ``training.left`` says so.

    Raises:
        UsageError: ``out`` holds a model, an unfinished training without ``resume``, or something else; another
            training writes there; the data changed since it began; an option that does not fit.
        InputError: no usable cases, or one without the number that is to be learnt.
        ModelError: the model that is complete there, or the one to begin with, is damaged.
        ResourceError: a loss or gradient is not finite; the last checkpoint is kept.
    """
    from braincli.training import signals

    with locked(out) if _writes() else nullcontext():
        output = Output(out)
        if output.is_complete(resume=config.resume, overwrite=config.overwrite):
            if _writes():
                output.tidy()
            reporter.say(f"{out.name} is complete")
            return read_info(out)
        if not cases:
            raise InputError("There are no cases to train on.")
        if problem := next((case.problem for case in [*cases, *validation] if case.problem), None):
            raise problem
        for text in taken([*cases, *validation]) if _writes() else ():
            reporter.say(text)
        refuse_common({case.id: [] for case in cases}, {case.id: [] for case in validation})
        with signals.noted() as stop:
            return _Training(cases, config, output, reporter, stop, validation).run()


def _writes() -> bool:
    """Whether this process is the only or the first of a training; known before torch is loaded."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


class _Training:
    def __init__(
        self,
        cases: Sequence[Case],
        config: TrainConfig,
        output: Output,
        reporter: Reporter,
        stop: Request,
        validation: Sequence[Case],
    ) -> None:
        self.begin = time.monotonic()
        device = devices.prepare(config.device, config.threads)
        import torch

        from braincli.training import parallel

        self.fabric = parallel.launch(device, devices.precision(device, config.precision))
        torch.manual_seed(config.seed)
        kind = registry.method_class(config.method)
        if not kind.trained:
            _refuse_training(config, validation)
        given = earlier.settings_of(config.method, config.settings) if kind.trained else config.settings
        own = registry.merged(given, _geometry(config))
        begun = _begun(config, device) if config.init else None
        if begun:
            config = config.model_copy(update={"preset": begun.info.preset})
            own = registry.merged(begun.info.options.model_dump(), own)
        self.method: Method = registry.build(
            config.method, preset=config.preset, settings=own, channels=len(CONTRASTS), names=_flags(config)
        ).to(self.fabric.device)  # fmt: skip
        self.spec = self.method.config.slices
        _refuse_canvas(self.method)
        if name := self.method.pretrained:
            self.method.load_pretrained(pretrained.load(name))
        if begun:
            _take_over(self.method, begun)
        self.heritage = begun.info if begun else None
        self.config = config
        if kind.trained:
            self.config = _resolved(config, self.method)
            parallel.shards_of(self.fabric, config.shards, self.config.batch or 1)  # refuse before slices are cut
        self.cases, self.output, self.stop = cases, output, stop
        self.judging = validation
        if column := self.method.column:
            _ = [case.number(column) for case in (*cases, *validation)]  # refuse before slices are cut
        self.out, self.work = output.folder, output.work
        self.first: bool = self.fabric.is_global_zero
        self.reporter = reporter if self.first else Reporter()
        self.info = ModelInfo(
            name=output.folder.name, method=config.method, preset=config.preset,
            options=self.method.config,
        )  # fmt: skip

    def run(self) -> ModelInfo | None:
        self.fabric.barrier()  # every process has looked at the folder before the first one writes
        if self.first:
            self._begin()
        self.fabric.barrier()
        training = Training(cases={}, minutes=0.0)
        if type(self.method).trained:
            fitted = self._fit()
            if fitted is None:
                return None
            training = fitted
        if self.first:
            save_model(self.out, self.method, self.info.model_copy(update={"training": training}))
            self.output.finish(read_info(self.out))
        self.fabric.barrier()
        return read_info(self.out) if self.first else None

    def _begin(self) -> None:
        """Take the folder; drop what an earlier training left, unless this one goes on from it."""
        from importlib.util import find_spec

        folders = {
            "work": True, "previews": True, "tensorboard": bool(find_spec("tensorboard")),
            "snapshots": self.config.snapshot_every,
        }  # fmt: skip
        if not type(self.method).trained:
            folders = {}
        made = {name for name, needed in folders.items() if needed}
        self.output.begin({*FILES, *made}, resume=self.config.resume)
        for line in _changes(self.work / CONFIG, self.config):
            self.reporter.warn(f"resumed with another option: {line}")

    def _fit(self) -> Training | None:
        """Train; what ``model.json`` tells about it, or None if it stopped before its end."""
        from braincli.training import log, plan
        from braincli.training.loop import LoopOptions, fit
        from braincli.training.watch import Watch, learnt, steps_taken

        store, validation = self._stores()
        judging = None if validation is None else validation.store
        config, text = self.config, plan.describe(self.method, self.config, store, judging)
        self.reporter.say(text)
        if self.first:
            files.write_text(self.work / CONFIG, text)
        if config.dry_run:
            self.reporter.say(f"dry run: start it with --resume ({self.out.name})")
            return None
        left = None if config.max_time is None else config.max_time - _minutes(self.begin)
        options = LoopOptions(
            steps=config.steps, batch=config.batch, shards=config.shards, minutes=left, seed=config.seed,
            compute_minutes=config.compute_minutes, snapshot_every=config.snapshot_every,
            checkpoint_minutes=config.checkpoint_minutes, keep_checkpoints=config.keep_checkpoints,
        )  # fmt: skip
        metrics = self.work / "metrics.jsonl"
        told = log.Log(metrics, self.out / "tensorboard" if self.first else None)
        watch = Watch(self.out, self.info, self.method, store, told, config, self.heritage, self.reporter, validation)
        if not fit(
            self.method, store, self.work, options, self.reporter,
            fabric=self.fabric, log=told, stop=self.stop, watch=watch, validation=validation,
        ):  # fmt: skip
            self.reporter.say(f"go on with the same command and --resume ({self.out.name})")
            return None
        entries = list(log.iterate_metrics(metrics))
        if self.first and entries:
            watch.look(self.method.stages[-1], entries[-1]["step"], sum(steps_taken(entries).values()))
        compute = entries[-1]["compute_s"] / 60 if entries else 0.0
        steps = steps_taken(entries)
        judged = {} if validation is None else {"validation": validation.store.cases, "best": validation.best}
        return learnt(
            store, self.heritage, steps=steps, minutes=round(_minutes(self.begin), 1),
            compute_minutes=round(compute, 2), **judged,
        )  # fmt: skip

    def _stores(self) -> tuple[SliceStore, Validation | None]:
        """The slices to learn from, and the validation by those that judge.

        Raises:
            UsageError: a case is among both; the data changed since the training began; see :meth:`_store`.
        """
        from braincli.training.validation import Validation
        from braincli.training.watch import learnt

        store = self._store(self.cases, self.config.store or self.work / "slices")
        judging = self._store(self.judging, self.work / "validation") if self.judging else None
        if judging is not None:
            refuse_common(learnt(store, self.heritage).cases, judging.cases)
        if self.first:  # what the first process refuses ends the others
            parts = [store.fingerprint, *([judging.fingerprint] if judging is not None else [])]
            self.output.learns_from(parts[0] if len(parts) == 1 else fingerprint({"parts": parts}))
        config = self.config
        batch = config.batch or self.method.config.train_batch
        if judging is None:
            return store, None
        return store, Validation(judging, batch=batch, every=config.validate_every, seed=config.seed)

    def _store(self, cases: Sequence[Case], folder: Path) -> SliceStore:
        """The slices of ``cases``, cut by the first process or by an earlier training.

        Raises:
            UsageError: the shared store holds other cases, or slices cut otherwise.
        """
        tissue, column = type(self.method).tissue, self.method.column
        if self.first and not is_built(folder):
            with locked(folder), self.reporter.step("cut slices"):
                build_store(
                    cases, self.spec, folder, stride=self.method.stride, tissue=tissue, column=column,
                    reporter=self.reporter,
                )  # fmt: skip
        while not is_built(folder):  # a barrier would give up after some minutes
            time.sleep(0.2)
        store = open_store(folder)
        advice = "Name another --store, or --overwrite an unfinished training."
        if (tissue and store.tissue is None) or column not in ("", store.column) or store.spec != self.spec:
            raise UsageError(f"The slices in {folder.name} are cut for another kind of method.", advice)
        if self.first and (changed := _changed_case(store.sources, identity(cases, store.column))):
            raise UsageError(f"The slices in {folder.name} are of other cases or scans: {changed}.", advice)
        return store


GEOMETRY = {"pixel_mm": "pixel_mm", "size": "canvas", "slice_mm": "slice_mm", "range": "slices"}  # of slices: option


def _geometry(config: TrainConfig) -> dict[str, Any]:
    """Settings that the options of the slices stand for."""
    slices = {name: value for name, option in GEOMETRY.items() if (value := getattr(config, option)) is not None}
    return {"slices": slices} if slices else {}


def _flags(config: TrainConfig) -> dict[str, str]:
    """How settings are called that :func:`_geometry` gives."""
    given = _geometry(config).get("slices", {})
    return {f"slices.{name}": f"--{GEOMETRY[name].replace('_', '-')}" for name in given}


def _refuse_training(config: TrainConfig, validation: Sequence[Case]) -> None:
    """Raise where an option is given that a method ignores of which nothing is trained.

    Raises:
        UsageError: the option is named.
    """
    decided = {"method", "preset", "run", "settings", "seed", "pixel_mm", "canvas", "slice_mm", "slices"}
    defaults = TrainConfig()
    given = [n for n in type(config).model_fields if getattr(config, n) != getattr(defaults, n)]
    ignored = [name for name in given if name not in decided | HOW] + (["validation"] if validation else [])
    if ignored:
        raise UsageError(
            f"--{ignored[0].replace('_', '-')}: {config.method} has nothing to train, so that this changes nothing.",
            "Leave it out.",
        )


def _refuse_canvas(method: Method) -> None:
    """Raise where the canvas is no multiple of the method's stride: its networks could not be run.

    Raises:
        UsageError: it is not.
    """
    size, stride = method.config.slices.size, method.stride
    if not method.config.slices.fits(stride):
        above, below = ("x".join(str(max(1, (s + more) // stride) * stride) for s in size) for more in (stride - 1, 0))
        raise UsageError(
            f"A canvas of {size[0]}x{size[1]} pixels does not fit these networks: both sides have to be multiples of "
            f"{stride}.",
            f"Choose --canvas {above}" + (f" or {below}." if below != above else "."),
        )


def _begun(config: TrainConfig, device: torch.device) -> LoadedModel:
    """The model to begin with.

    Raises:
        ModelError: there is none, or it is damaged.
        UsageError: it is of another method.
    """
    assert config.init is not None
    model = load_model(config.init, device)
    if model.info.method != config.method:
        raise UsageError(f"{model.info.name} is a {model.info.method}.", f"Add --method {model.info.method}.")
    return model


def _take_over(method: Method, begun: LoadedModel) -> None:
    """Give ``method`` the weights of ``begun``; parts that a model folder does not hold stay fresh.

    Raises:
        UsageError: a network has another shape.
    """
    from braincli.model.tensors import needed

    held = needed(method).keys()
    weights = {name: value for name, value in begun.method.state_dict().items() if name in held}
    try:
        method.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise UsageError(
            f"The options given do not fit the networks of {begun.info.name}.",
            "With --init, leave widths, patches and the like as they are.",
        ) from None
    if missing := held - set(weights):
        raise UsageError(f"{begun.info.name} lacks {sorted(missing)[0]}.", "Leave such options as they are.")


def _changed_case(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> str:
    """What differs first between two :func:`braincli.training.store.identity`; empty where nothing does."""
    for case in [*before, *now]:
        if case not in now or case not in before:
            return f"{case} is {'new' if case in now else 'gone'}"
        for role in sorted({*before[case], *now[case]}):
            if before[case].get(role) != now[case].get(role):
                return f"the {role} of {case} has changed"
    return "" if list(before) == list(now) else "their order has changed"


def _resolved(config: TrainConfig, method: Method) -> TrainConfig:
    """``config`` with everything spelled out that the preset decides (what epochs come to, the slices tell).

    Raises:
        UsageError: a stage that the method does not have.
    """
    stages = method.stages
    if unknown := set(config.steps) - set(stages):
        raise UsageError(f"No stage {sorted(unknown)[0]!r}.", f"Stages of this method: {', '.join(stages)}.")
    own = method.config
    fixed = {stage: length for stage, length in own.train_steps.items() if isinstance(length, int)}
    steps = {stage: count for stage in stages if (count := (fixed | config.steps).get(stage)) is not None}
    settings = own.model_dump(mode="json")
    resolved = {"steps": steps, "batch": config.batch or own.train_batch, "settings": settings}
    return config.model_copy(update=resolved | dict.fromkeys(("pixel_mm", "canvas", "slice_mm", "slices")))


def _changes(file: Path, config: TrainConfig) -> list[str]:
    """Options that differ from those in ``file``, as ``name: before -> now``; none where there is no file."""
    if not file.exists():
        return []
    before = _flat(tomllib.loads(file.read_text(encoding="utf-8")))
    given = config.model_dump(mode="json") | {"init": config.init and Path(config.init).name}
    now = _flat(tomllib.loads(to_toml(given)))
    names = sorted(name for name in {*before, *now} if name not in HOW)
    return [f"{n}: {before.get(n)} -> {now.get(n)}" for n in names if before.get(n) != now.get(n)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _minutes(begin: float) -> float:
    return (time.monotonic() - begin) / 60
