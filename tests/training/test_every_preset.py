"""Every preset of every method takes a real step in each of its stages through ``train``, on its own canvas and in its
own range of slices, and what comes of it predicts. Published networks are narrowed; nothing else is changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import torch

from braincli import api
from braincli.config import TrainConfig
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.methods import registry
from braincli.model.folder import load_model
from braincli.training.data import Source
from braincli.training.store import open_store

pytestmark = pytest.mark.slow

PRESETS = [(name, preset) for name, spec in registry.METHODS.items() for preset in spec.presets]
SHAPE = (44, 52, 155)  # as high as SRI24, whose slices the papers count
SEEN = slice(56, 104)  # slices that hold brain: some of them lie in every preset's range

UNET = {"width": 8, "blocks": 1}
SEGMENTER = {"widths": (4, 4, 8, 8)}
BOTTLENECK = {"width": 4, "widest": 8, "latent": 8}
CYCLEGAN = {"generator_width": 4, "generator_blocks": 1, "discriminator_width": 4}
SEGNET = {"widths": (2, 2, 4, 4, 4)}
DOMAINS = {"generator_width": 2, "generator_blocks": 1, "discriminator_width": 2, "critic_steps": 1}
CDDPM = UNET | {"features": 8, "decoder_width": 8, "levels": (250,)}
SADM = CDDPM | SEGMENTER | {"encoder": (8, 8)}
NARROW: dict[str, dict[str, Any]] = {
    "threshold": {},
    "ae": BOTTLENECK, "vae": BOTTLENECK, "svae": BOTTLENECK, "gmvae": BOTTLENECK | {"steps": 2}, "fanogan": BOTTLENECK,
    "dae": SEGMENTER, "pii": SEGMENTER, "unet": SEGMENTER,
    "descargan": {"generator_width": 2, "discriminator_width": 2, "critic_steps": 1},
    "densenet169": {"blocks": (1, 1, 1, 1), "growth": 4, "width": 8},
    "descargan-classifier": {"discriminator_width": 2},
    "vae-chen": BOTTLENECK, "vagan": {"generator_width": 2, "critic_width": 2, "critic_steps": 1},
    "segnet": SEGNET, "segnet-bayesian": SEGNET, "segnet-aleatoric": SEGNET,
    "stargan": DOMAINS, "fp-gan": DOMAINS,
    "cyclegan": CYCLEGAN, "tsgm": CYCLEGAN | {"width": 8, "blocks": 1, "steps": 2},
    "fae": {"backbone": "random", "widths": (4, 4, 8, 8)}, "rd": {"backbone": "random", "code": 16},
    "draem": {"restore_width": 8, "compare_width": 4},
    "isct": {
        "segmentor_widths": (4, 4, 4, 8, 8), "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4,
    },
    "anoddpm": UNET | {"steps": 2}, "pddpm": UNET, "cddpm": CDDPM, "sadm": SADM, "sadm-res": SADM, "unet-res": SADM,
    "dpm-classifier": UNET | {
        "steps": 2, "classifier_width": 8, "classifier_blocks": 1, "classifier_head": 8,
    },
    "itermask": UNET | {"steps": 2},
    "regression-guided": UNET | {"steps": 2, "regressor": {"width": 8, "blocks": 1, "head": 8}},
    "segmentation-guided": UNET | {"steps": 2},
    "dpm-classifier-free": UNET | {"steps": 2}, "diffseg": UNET | {"steps": 2, "ensemble": 1},
}  # fmt: skip
NARROWER = {("cddpm", "reference"): {"encoder": (8, 8)}}  # ResNet-50 takes its step in ``paper``


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of four contrasts, of whose brain a slab was imaged; the first has a lesion in its middle slices."""
    root, matrix = tmp_path_factory.mktemp("data"), phantoms.affine("LPS", (3.4, 3.4, 1.0))
    for seed, (name, sick) in enumerate((("a", phantoms.lesion(SHAPE) > 0), ("b", np.zeros(SHAPE, dtype=bool)))):
        for number, contrast in enumerate(CONTRASTS):
            data = phantoms.brain(SHAPE, seed) * (1 + 0.1 * number)
            data[..., : SEEN.start] = data[..., SEEN.stop :] = 0
            bright = 190 if contrast is Contrast.FLAIR else 120
            path = root / name / f"{name}_{contrast}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            phantoms.write(path, np.where(sick, bright, data).astype(np.float32), matrix)
        phantoms.write(root / name / f"{name}_seg.nii.gz", sick.astype(np.uint8), matrix)
    return root


def test_all_methods_are_narrowed() -> None:
    assert set(NARROW) == set(registry.METHODS)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_one_step_of_every_stage_and_a_prediction(name: str, preset: str, cohort: Path, tmp_path: Path) -> None:
    own = {} if preset in ("compact", "tiny") and name not in ("fae", "rd") else NARROW[name]
    own = own if preset not in ("compact", "tiny") else {"backbone": "random"} if "backbone" in own else {}
    own |= NARROWER.get((name, preset), {})
    kind, spec = registry.method_class(name), registry.options(name, preset).slices
    key = hashlib.sha256(f"{spec}{kind.tissue}".encode()).hexdigest()[:12]
    store = cohort.parent / f"store-{key}"  # of all presets that cut their slices alike
    with torch.device("meta"):
        stages = registry.build(name, preset=preset, settings=own, size=spec.size).stages
    learning: dict[str, Any] = {"steps": dict.fromkeys(stages, 1), "batch": 2} if kind.trained else {}
    config = TrainConfig(
        method=name, preset=preset, settings=own, store=store, device="cpu", threads=1, **learning
    )  # fmt: skip
    info = api.train([cohort], tmp_path / "m", config)
    assert info is not None and info.slices == spec and info.map == registry.options(name, preset).map
    if kind.trained:
        assert info.training.steps == dict.fromkeys(stages, 1)

    model = load_model(str(tmp_path / "m"), torch.device("cpu"))
    assert tuple(model.method.size) == spec.size
    if not kind.trained:
        return
    slices = open_store(store)
    assert slices.image.shape[2:] == spec.size and spec.fits(model.method.stride)
    rows = np.arange(kind.sequence) if kind.sequence > 1 else np.array([len(slices) // 2])
    given = Source(slices, torch.device("cpu")).batch(rows)
    with torch.inference_mode():
        prediction = model.method.predict(
            given.image, given.brain, [torch.Generator().manual_seed(row) for row in range(len(rows))]
        )  # fmt: skip
    for part in prediction.maps:
        assert part.shape[2:] == spec.size and torch.isfinite(part).all()
        assert not part[~given.brain.expand_as(part)].any()
