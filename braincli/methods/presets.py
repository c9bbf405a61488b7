"""Parts of presets that several methods share. A method's own presets stand in its own file, and name these.

Plain data: values are options of a method's ``Config``; later parts overrule earlier ones (``A | B``).
"""

from __future__ import annotations

from typing import Any

from braincli.methods.lengths import Epochs, Length

Preset = dict[str, Any]

# How maps are made (options of braincli.spec.MapOptions; nothing is filtered where nothing is said): by Behrendt et al.
# 2023 (rim: 3 pixels of 2 mm), by Baur et al. 2021 (12 pixels of 1 mm), by Kascenas et al. 2022, and by us.
BEHRENDT_MAP: Preset = {"residual": "absolute", "median": 5, "erode_mm": 6.0}
BAUR_MAP: Preset = {"residual": "positive", "median": 5, "erode_mm": 12.0}
KASCENAS_MAP: Preset = {"residual": "absolute", "median": 5, "erode_mm": 4.0}
SSIM_MAP: Preset = {"residual": "ssim3d", "median": 5}
COMPACT_MAP: Preset = {"residual": "absolute", "smooth_mm": 2.0, "erode_mm": 2.0}
TSGM_WEIGHTS = (0.07, 0.19, 0.30, 0.44)  # of T1, T1ce, T2 and FLAIR (Wang et al. 2023, Sec. III)

# Slices (options of braincli.spec.SliceSpec) of scans in SRI24 space. BraTS as TSGM and Wolleb et al. take it: 240 x
# 240 pixels of 1 mm, padded; the lowest 80 and the top 26 slices are dropped. Behrendt et al.: half resolution, also
# through the plane, the outer 15 of their 80 slices dropped, of which 2 lie beyond SRI24's 78. Small canvases that hold
# all 240 mm: 128 pixels, or 64.
BRATS_256: Preset = {"pixel_mm": 1.0, "size": (256, 256), "range": (80, 128)}
BRATS_224: Preset = BRATS_256 | {"size": (224, 224)}
WHOLE_256: Preset = {"pixel_mm": 1.0, "size": (256, 256)}
WHOLE_128: Preset = {"pixel_mm": 1.875, "size": (128, 128)}
WHOLE_64: Preset = {"pixel_mm": 3.75, "size": (64, 64)}
MEISSEN_128: Preset = WHOLE_128 | {"range": (15, 125), "normalisation": "equalise"}
HALF_96: Preset = {"pixel_mm": 2.0, "size": (96, 96), "slice_mm": 2.0, "range": (14, 63)}

# whose slices and maps a preset has
BEHRENDT: Preset = {"slices": HALF_96, "map": BEHRENDT_MAP}
BEHRENDT_2024: Preset = {"slices": HALF_96, "map": SSIM_MAP}  # of methods that restore
BEHRENDT_2024_SCORE: Preset = {"slices": HALF_96, "map": {"median": 5}}  # of those that give a score
BAUR: Preset = {"slices": WHOLE_128, "map": BAUR_MAP}
WANG: Preset = {"contrasts": "stacked", "slices": BRATS_256}

# Behrendt et al.: 1600 epochs; 358 volumes in batches of 32 give 11 steps an epoch
EPOCHS_1600: dict[str, Length] = {"main": Epochs(number=1600, of="cases")}
# lessons (methods.lesson): heads and scanners differ, and scans lack contrasts
VARIED: Preset = {"vary": 1.0, "drop": 0.15}
# known lesions are left out of the loss as well
LEFT_OUT: Preset = VARIED | {"leave_out": True}
# and planted ones are to be restored
RESTORED: Preset = LEFT_OUT | {"plant": 0.5}
# short trainings: gradients are clipped, and weights averaged
STEADY: Preset = {"clip_norm": 1.0, "ema": 0.999}
STACKED: Preset = STEADY | {"contrasts": "stacked", "lesson": VARIED}

# autoencoders (families.autoencoding)
AUTOENCODER_BAUR: Preset = BAUR | {"train_batch": 128}
AUTOENCODER_COMPACT: Preset = STACKED | {
    "lesson": RESTORED,
    "norm": "group", "dropout": 0.0, "rate": 1e-3, "train_batch": 8, "train_steps": {"main": 1800}, "warmup": 50,
    "decay": "cosine", "map": COMPACT_MAP,
}  # fmt: skip
AUTOENCODER_TINY: Preset = AUTOENCODER_COMPACT | {
    "width": 4, "widest": 16, "least": 4, "latent": 8, "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2,
}  # fmt: skip
KL_OF_SUMS: Preset = {"kl_weight": 1.0, "reduction": "sum"}

# the pDDPM family (families.denoising); REFERENCE: the published code of pDDPM and cDDPM where it differs from the text
DENOISING_REFERENCE: Preset = {
    "multipliers": (1, 2, 2), "resampling": "residual", "schedule": "cosine", "rate": 1e-4, "shared_noise": True,
    "normalised_noise": False,
}  # fmt: skip
DENOISING_COMPACT: Preset = STACKED | {
    "lesson": RESTORED,
    "width": 32, "multipliers": (1, 2, 3), "blocks": 1, "resampling": "residual", "patch": 2, "schedule": "cosine",
    "learnt": (100, 800), "rate": 1e-3, "warmup": 50, "decay": "cosine",
}  # fmt: skip
DENOISING_TINY: Preset = {
    "width": 8, "multipliers": (1, 2), "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2,
}  # fmt: skip

# variance-preserving models sampled in a chain (families.adm)
ADM_COMPACT: Preset = STACKED | {
    "width": 24, "multipliers": (1, 2, 3), "blocks": 1, "attention": (), "injection": "scale-shift",
    "resampling": "residual", "dropout": 0.0, "patch": 2, "schedule": "cosine", "target": "v",
    "learned_variance": False, "centred": True, "rate": 1e-3, "train_batch": 16, "warmup": 50, "decay": "cosine",
    "ema": 0.999,
}  # fmt: skip
ADM_TINY: Preset = {"width": 8, "multipliers": (1, 2), "train_batch": 4, "warmup": 2}
# guided restoration (families.guided)
GUIDED_COMPACT: Preset = ADM_COMPACT | {
    "balanced": True,
    "lesson": LEFT_OUT | {"plant": 1.0, "transplant": 0.5}, "level": 600, "steps": 4, "map": COMPACT_MAP,
}  # fmt: skip
# translation to a goal (families.steered)
STEERED_COMPACT: Preset = ADM_COMPACT | {
    "balanced": True, "level": 600, "steps": 8, "refine": 1, "map": COMPACT_MAP,
    "train_steps": {"diffusion": 900, "guide": 600},
}  # fmt: skip

# segmenters (families.segmenter)
SEGMENTER_COMPACT: Preset = STACKED | {
    "widths": (32, 64, 128, 160), "patch": 2, "rate": 1e-3, "train_steps": {"main": 1000}, "train_batch": 16,
    "warmup": 50, "decay": "cosine", "ema": 0.99, "map": COMPACT_MAP,
}  # fmt: skip
SEGMENTER_TINY: Preset = {"widths": (8, 16), "train_steps": {"main": 6}, "train_batch": 4, "warmup": 2}

# SegNet (families.segnets)
SEGNET_COMPACT: Preset = STACKED | {
    "widths": (32, 64, 96), "convolutions": (2, 2, 2), "patch": 2, "rate": 1e-3, "balanced": True, "dice": 1.0,
    "train_steps": {"main": 1000}, "train_batch": 16, "warmup": 50, "decay": "cosine", "ema": 0.99, "map": COMPACT_MAP,
}  # fmt: skip
SEGNET_TINY: Preset = {
    "widths": (8, 8), "patch": 1, "convolutions": (2, 2), "train_steps": {"main": 4}, "train_batch": 4, "warmup": 2,
}  # fmt: skip

# the CycleGAN (families.translation)
CYCLEGAN_COMPACT: Preset = STACKED | {
    "generator_width": 24, "generator_blocks": 4, "generator_residual": True, "discriminator_width": 32, "patch": 2,
    "train_batch": 8, "map": COMPACT_MAP,
}  # fmt: skip
CYCLEGAN_TINY: Preset = {
    "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4, "discriminator_layers": 2, "train_batch": 4,
    "warmup": 2,
}  # fmt: skip

# against a Wasserstein discriminator (families.adversarial)
ADVERSARIAL_COMPACT: Preset = STACKED | {
    "patch": 2, "train_batch": 40, "train_steps": {"main": 300}, "warmup": 20, "decay": "cosine", "ema": 0.99,
    "map": COMPACT_MAP,
}  # fmt: skip
DOMAINS_COMPACT: Preset = ADVERSARIAL_COMPACT | {
    "generator_width": 16, "generator_blocks": 4, "discriminator_width": 24, "discriminator_layers": 4, "rate": 4e-4,
}  # fmt: skip
DOMAINS_TINY: Preset = {
    "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4, "discriminator_layers": 2,
}  # fmt: skip
ADVERSARIAL_TINY: Preset = {"patch": 1, "critic_steps": 2, "train_batch": 8, "train_steps": {"main": 4}, "warmup": 2}

# classifiers of slices (families.telling)
CLASSIFIER_COMPACT: Preset = STACKED | {
    "rate": 1e-3, "betas": (0.9, 0.999), "train_batch": 16, "train_steps": {"main": 600}, "warmup": 50,
    "decay": "cosine", "ema": 0.99, "map": COMPACT_MAP,
}  # fmt: skip
CLASSIFIER_TINY: Preset = {"train_batch": 4, "train_steps": {"main": 4}, "warmup": 2}

# ImageNet features (families.feature); the shares of contrasts are TSGM's weights
FEATURE_COMPACT: Preset = STACKED | {
    "backbone": "efficientnet_lite0", "standardise": True, "shares": (0.07, 0.19, 0.30, 0.44),
    "train_batch": 16, "ema": 0.99, "warmup": 20, "decay": "cosine", "map": COMPACT_MAP,
}  # fmt: skip
FEATURE_TINY: Preset = {"backbone": "random", "train_steps": {"main": 4}, "train_batch": 4, "warmup": 2}
