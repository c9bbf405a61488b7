"""Parts of presets that several methods share. A method's own presets stand in its own file, and name these.

Plain data: values are options of a method's ``Config``; later parts overrule earlier ones (``A | B``).
"""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

# How maps are made (options of braincli.model.info.MapOptions): by Behrendt et al. 2023 (rim: 3 pixels of 2 mm), by
# Baur et al. 2021 (12 pixels of 1 mm), by Wang et al. 2023, and by us.
BEHRENDT_MAP: Preset = {"residual": "absolute", "median": 5, "smooth_mm": 0.0, "erode_mm": 6.0}
BAUR_MAP: Preset = {"residual": "positive", "median": 5, "smooth_mm": 0.0, "erode_mm": 12.0}
WANG_MAP: Preset = {"residual": "absolute", "median": 0, "smooth_mm": 0.0, "erode_mm": 0.0}
COMPACT_MAP: Preset = {"residual": "absolute", "median": 0, "smooth_mm": 2.0, "erode_mm": 2.0}
WHOLE_SCORE: Preset = {"smooth_mm": 0.0, "erode_mm": 0.0}  # nothing is filtered
SMOOTH_SCORE: Preset = {"smooth_mm": 2.0, "erode_mm": 2.0}

# Behrendt et al.: 358 volumes in batches of 32 give 11 steps an epoch, 1600 epochs
EPOCHS_1600: dict[str, int] = {"main": 17_600}
# lessons (methods.lesson): heads and scanners differ, and scans lack contrasts
VARIED: Preset = {"vary": 1.0, "drop": 0.15}
# known lesions are left out of the loss as well
LEFT_OUT: Preset = VARIED | {"leave_out": True}
# and planted ones are to be restored
RESTORED: Preset = LEFT_OUT | {"plant": 0.5}
STACKED: Preset = {"contrasts": "stacked", "lesson": VARIED}

# autoencoders (families.autoencoding)
AUTOENCODER_BAUR: Preset = {"train_batch": 128, "map": BAUR_MAP}
AUTOENCODER_COMPACT: Preset = STACKED | {
    "lesson": RESTORED,
    "norm": "group", "dropout": 0.0, "rate": 1e-3, "train_batch": 8, "train_steps": {"main": 1800}, "warmup": 50,
    "decay": True, "map": COMPACT_MAP,
}  # fmt: skip
AUTOENCODER_TINY: Preset = AUTOENCODER_COMPACT | {
    "width": 4, "widest": 16, "least": 4, "latent": 8, "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2,
}  # fmt: skip
KL_OF_SUMS: Preset = {"kl_weight": 1.0, "reduction": "sum"}

# the pDDPM family (families.denoising); REFERENCE: the published code of pDDPM and cDDPM where it differs from the text
DENOISING_REFERENCE: Preset = {
    "multipliers": (1, 2, 2), "schedule": "cosine", "rate": 1e-4, "shared_noise": True, "normalised_noise": False,
}  # fmt: skip
DENOISING_COMPACT: Preset = STACKED | {
    "lesson": RESTORED,
    "width": 32, "multipliers": (1, 2, 3), "blocks": 1, "patch": 2, "schedule": "cosine", "learnt": (100, 800),
    "rate": 1e-3, "warmup": 50, "decay": True,
}  # fmt: skip
DENOISING_TINY: Preset = {
    "width": 8, "multipliers": (1, 2), "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2,
}  # fmt: skip

# variance-preserving models sampled in a chain (families.adm)
ADM_COMPACT: Preset = STACKED | {
    "width": 24, "multipliers": (1, 2, 3), "blocks": 1, "attention": (), "injection": "scale-shift",
    "residual_resampling": True, "dropout": 0.0, "patch": 2, "schedule": "cosine", "target": "v",
    "learned_variance": False, "centred": True, "rate": 1e-3, "train_batch": 16, "warmup": 50, "decay": True,
    "ema": 0.999,
}  # fmt: skip
ADM_TINY: Preset = {"width": 8, "multipliers": (1, 2), "train_batch": 4, "warmup": 2}
# guided restoration (families.guided)
GUIDED_COMPACT: Preset = ADM_COMPACT | {
    "lesson": LEFT_OUT | {"plant": 1.0, "transplant": 0.5}, "level": 600, "steps": 4, "map": COMPACT_MAP,
}  # fmt: skip

# segmenters (families.segmenter)
SEGMENTER_COMPACT: Preset = STACKED | {
    "widths": (32, 64, 128, 160), "patch": 2, "rate": 1e-3, "train_steps": {"main": 1000}, "train_batch": 16,
    "warmup": 50, "decay": True, "ema": 0.99,
}  # fmt: skip
SEGMENTER_TINY: Preset = {"widths": (8, 16), "train_steps": {"main": 6}, "train_batch": 4, "warmup": 2}

# the CycleGAN (families.translation)
CYCLEGAN_COMPACT: Preset = STACKED | {
    "generator_width": 24, "generator_blocks": 4, "generator_residual": True, "discriminator_width": 32, "patch": 2,
    "train_batch": 8,
}  # fmt: skip
CYCLEGAN_TINY: Preset = {
    "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4, "discriminator_layers": 2, "train_batch": 4,
    "warmup": 2,
}  # fmt: skip

# ImageNet features (families.feature); the shares of contrasts are TSGM's weights
FEATURE_COMPACT: Preset = STACKED | {
    "backbone": "efficientnet_lite0", "standardise": True, "shares": (0.07, 0.19, 0.30, 0.44),
    "train_batch": 16, "ema": 0.99, "warmup": 20, "decay": True,
}  # fmt: skip
FEATURE_TINY: Preset = {"backbone": "random", "train_steps": {"main": 4}, "train_batch": 4, "warmup": 2}
