"""What every method is: a network with stages, losses and a prediction, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from braincli.diffusion.samplers import Tick as Tick
from braincli.diffusion.samplers import no_tick as no_tick
from braincli.methods.batch import Batch as Batch
from braincli.methods.batch import Task as Task
from braincli.methods.batch import beside as beside
from braincli.methods.batch import healthy_tissue as healthy_tissue
from braincli.methods.batch import masked_mean as masked_mean
from braincli.methods.batch import present as present
from braincli.methods.lengths import Decay, DecayName, Length
from braincli.methods.lesson import Lesson as Lesson
from braincli.spec import MapOptions, SliceSpec

Losses = Iterator[tuple[str, Tensor, dict[str, Tensor]]]
Sampling = Literal["healthy", "balanced", "any", "all"]  # training slices: healthy, half of each kind, labelled, all
Goal = Literal["number", "mask"]


class PlainConfig(BaseModel):
    """What every method has, also one that learns nothing: how it wants its slices, and how its maps are made.

    Immutable, unknown keys refused: an option that a method ignores does not exist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    slices: SliceSpec = SliceSpec()
    map: MapOptions = MapOptions()

    @property
    def stochastic(self) -> bool:
        """Whether predictions depend on their generators."""
        return False


class MethodConfig(PlainConfig):
    """Base of the options of every method that is trained."""

    lessons: ClassVar[tuple[str, ...]] = tuple(Lesson.model_fields)  # options of the lesson that the method follows

    train_steps: dict[str, Length] = Field(default={})  # per stage
    train_batch: int = 16  # slices per step; of single contrasts, each is as many rows as contrasts it has
    ema: float = Field(default=0.0, ge=0, lt=1)  # memory of the averaged weights, which predict; 0: the last ones do
    clip_norm: float = Field(default=0.0, ge=0)  # of gradients: longer ones are cut; 0: none are
    warmup: int | dict[str, int] = 0  # steps over which the learning rate rises; by stage: the others have none
    decay: Decay = "constant"  # of the learning rate over a stage; per stage where they differ
    contrasts: Literal["single", "stacked"] = "single"  # one network row per contrast, or all contrasts as channels
    lesson: Lesson = Lesson()  # what is learnt beside the paper's formula

    def warmup_in(self, stage: str) -> int:
        """Steps over which the learning rate of ``stage`` rises."""
        return self.warmup.get(stage, 0) if isinstance(self.warmup, dict) else self.warmup

    def decay_in(self, stage: str) -> DecayName:
        """How the learning rate falls over ``stage``."""
        return self.decay.get(stage, "constant") if isinstance(self.decay, dict) else self.decay

    @field_validator("lesson")
    @classmethod
    def _followed(cls, lesson: Lesson) -> Lesson:
        if ignored := [name for name in Lesson.model_fields if getattr(lesson, name) and name not in cls.lessons]:
            known = f"; it knows: {', '.join(cls.lessons)}" if cls.lessons else ""
            raise ValueError(f"this method does not follow lesson.{ignored[0]}{known}")
        return lesson


class Prediction(NamedTuple):
    """A restoration, a score, or both.

    ``restored`` (B, C, H, W) in [0, 1]; ``score`` (B, 1, H, W) >= 0; ``suspicion`` (B, 1, H, W) in [0, 1], how sure
    a method is that what it redrew is not healthy: residuals are weighed with it; ``diseased`` (B,) in [0, 1], how
    likely each slice as a whole is diseased, of methods with a classifier.
    """

    restored: Tensor | None
    score: Tensor | None = None
    suspicion: Tensor | None = None
    diseased: Tensor | None = None

    @property
    def maps(self) -> list[Tensor]:
        """The parts that are images, (B, ?, H, W) each."""
        return [part for part in (self.restored, self.score, self.suspicion) if part is not None]


class Verdict(NamedTuple):
    """What a network says of whole slices, for those who want to know why.

    ``name``: what the value is; ``value``: (B, C, H, W) in [0, 1] -> (B,), higher for what ``name`` says;
    ``features``: the module whose output (R, K, h, w) the value rests on, R being B or B times the contrasts.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    features: nn.Module


class Method(nn.Module, ABC):
    """Base of every method.

    A subclass names the type of its options twice: ``Config`` for those who build it, and ``config`` for the checker.

    Args:
        config: an instance of ``Config``.
        channels: C of the images, one channel per contrast.
        size: (H, W) of the training canvas; prediction accepts any multiple of ``stride``.
    """

    config: MethodConfig
    Config: ClassVar[type[PlainConfig]]
    PRESETS: ClassVar[dict[str, dict[str, Any]]]
    stage_share: ClassVar[dict[str, float]] = {}  # parts of a given compute budget; 1 each by default
    trained: ClassVar[bool] = True  # False: has nothing to train
    restores: ClassVar[bool] = True  # False: what it gives as restored is to be compared with, not looked at
    optional_weights: ClassVar[tuple[str, ...]] = ()  # prefixes of parameters that prediction does not need
    renamed_weights: ClassVar[dict[str, str]] = {}  # earlier prefix of parameters -> today's
    tissue: ClassVar[bool] = False  # learns from tissue maps (Batch.tissue)
    sequence: ClassVar[int] = 1  # rows come as runs of so many adjacent slices of one case
    steered_by: ClassVar[Goal | None] = None  # what a slice can be translated to; None: to nothing
    neighbours: int = 0  # slices on each side that prediction looks at beside each slice (Batch.around)
    looks_at: ClassVar[int] = 0  # slices of the cohort that it meets before training
    stages: tuple[str, ...] = ("main",)
    stride: int = 1

    def __init__(self, config: PlainConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.channels, self.size = config, channels, size  # type: ignore[assignment]  # Config's own
        single = isinstance(config, MethodConfig) and config.contrasts == "single"
        self.folded = 1 if single else channels  # channels of a network's row
        self.spread = 1  # rows per slice of what was folded last
        self.held: Sequence[int] | None = None  # channels that every slice of the cohort holds, where they are the same

    @classmethod
    def current_name(cls, parameter: str) -> str:
        """Today's name of a ``parameter``, which an earlier version may have named otherwise."""
        old = next((prefix for prefix in cls.renamed_weights if parameter.startswith(prefix)), "")
        return cls.renamed_weights.get(old, "") + parameter.removeprefix(old)

    def sampling(self, stage: str) -> Sampling:
        """Which slices ``stage`` learns from: ``healthy``, ``balanced`` (half healthy, half diseased) or ``any``."""
        return "any" if self.config.lesson.leave_out else "healthy"

    def neighbours_in(self, stage: str) -> int:
        """Slices on each side that ``stage`` looks at beside each slice."""
        return self.neighbours

    def task(self, batch: Batch, stage: str, generator: torch.Generator) -> Task:
        """What ``stage`` is to learn from ``batch``: the loop makes it, and hands it to :meth:`losses`."""
        return self.split(self.config.lesson.task(batch, generator, run=self.sequence))

    def split(self, task: Task) -> Task:
        """``task``, of methods of single contrasts with a row for each contrast that is there: none is blank."""
        if self.config.contrasts == "stacked":
            return task
        varied = self.config.lesson.drop or self.config.lesson.alone
        return task.split(None if varied else self.held, run=self.sequence)

    @abstractmethod
    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        """Optimisers of ``stage``, by the names that :meth:`losses` yields."""

    @abstractmethod
    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Yield (optimizer name, loss, logs) of the task ``batch``: the paper's formula.

        The loop steps that optimizer before it asks for the next. Everything is drawn by ``generator``, on its device.
        On a GPU nothing may wait for the GPU: no number is read from a tensor, no shape and no branch depends on one;
        logs are tensors (), detached.
        """

    def learn(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        """The losses of what ``stage`` is to learn from ``batch``."""
        yield from self.losses(self.task(batch, stage, generator), stage, generator)

    def is_judged(self, stage: str) -> bool:
        """Whether :meth:`criterion` tells good weights of ``stage`` from better ones; adversarial losses do not."""
        return True

    def criterion(self, batch: Batch, stage: str, generator: torch.Generator) -> Tensor:
        """What validation judges weights by, lower is better: by default the first loss of ``stage``. Eval mode, no
        gradient."""
        return next(self.learn(batch, stage, generator))[1]

    @abstractmethod
    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """Restore slices. Eval mode, no gradient, input untouched; everything runs on ``image``'s device.

        Args:
            image: (B, C, H, W) float32 in [0, 1]; absent contrasts are all zero and stay so.
            brain: (B, 1, H, W) bool.
            generators: one CPU generator per row; row i depends only on ``image[i]`` and ``generators[i]`` (with
                ``sequence`` > 1: on the rows of its run, of which the first is at a multiple of ``sequence``).
            tick: called once after each network call, :meth:`calls` times in all.
        """

    def predict_among(
        self,
        around: Tensor | None,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """:meth:`predict` of slices whose neighbours are known, for methods that look at some (:attr:`neighbours`).

        Args:
            around: (B, 2 neighbours, C, H, W), see ``Batch.around``; None: each slice stands for its neighbours, too.
        """
        return self.predict(image, brain, generators, tick)

    def steer(self, image: Tensor, brain: Tensor, goal: Tensor, tick: Tick = no_tick) -> Tensor:
        """Slices (B, C, H, W) as they would be at ``goal``; eval mode, no gradient. For methods with ``steered_by``.

        Args:
            image, brain, tick: as for :meth:`predict`.
            goal: ``number``: (B,), inf and -inf are more and less than now; ``mask``: (B, 1, H, W) in [0, 1].
        """
        raise NotImplementedError

    def reading(self, image: Tensor) -> Tensor:
        """What the guide of :meth:`steer` says of slices: (B,) numbers or (B, 1, H, W) probabilities."""
        raise NotImplementedError

    def doubts(self, goal: float) -> str:
        """Why a number is no goal to trust; empty where nothing speaks against it."""
        return ""

    def verdict(self) -> Verdict | None:
        """The classifier or regressor of whole slices that this method holds; None: it holds none."""
        return None

    @property
    def column(self) -> str:
        """Column of the manifest with the number that training needs for every case; empty for none."""
        return ""

    def meet(self, sample: Batch) -> None:
        """Learn, before training, what the cohort is like: :attr:`looks_at` slices, spread evenly over it.

        Raises:
            InputError: nothing can be learnt from such a cohort.
        """

    @property
    def pretrained(self) -> str:
        """Name of the published weights that training needs (:mod:`braincli.weights.pretrained`); empty for none."""
        return ""

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights that :attr:`pretrained` names, as they were published."""

    def resume_state(self) -> dict[str, Any]:
        """What besides parameters and optimisers an exact resume needs (tensors, numbers, lists, dicts)."""
        return {}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`resume_state` gave."""

    def calls(self) -> int:
        """Network calls per slice of one prediction."""
        return 1

    def fold(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B * C, 1, H, W) for networks of single contrasts, else unchanged."""
        self.spread = max(1, image.shape[1] // self.folded)
        return image if self.spread == 1 else image.reshape(-1, 1, *image.shape[2:])

    def unfold(self, rows: Tensor) -> Tensor:
        """The way back from :meth:`fold`; rows may have any number of channels per contrast row."""
        return rows if self.spread == 1 else rows.reshape(-1, self.spread, *rows.shape[2:])

    def per_row(self, values: Tensor) -> Tensor:
        """(B, ...) -> one entry per row of :meth:`fold`."""
        return values if self.spread == 1 else values.repeat_interleave(self.spread, dim=0)
