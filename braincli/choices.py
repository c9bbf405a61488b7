"""What options can be chosen from: once for the configuration and for the command line, which imports no pydantic."""

from __future__ import annotations

from typing import Literal

Step = Literal["coregister", "atlas", "brain", "n4", "normalise"]
Form = Literal["sform", "qform"]
Transform = Literal["rigid", "affine"]
Space = Literal["sri24", "mni152", "native"]
Normalisation = Literal["percentile", "zscore", "none"]
BetMode = Literal["fast", "accurate"]
BetBackend = Literal["minimal", "hd-bet"]
OnOom = Literal["halve", "cpu", "fail"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
TrainingPrecision = Literal["auto", "fp32", "bf16"]
Hausdorff = Literal["max-directed", "pooled"]
Connectivity = Literal[6, 18, 26]
Empty = Literal["penalty", "null"]
Objective = Literal["dsc", "lesion-f1", "healthy-quantile", "otsu"]
Fusion = Literal["fitted", "equal", "case-mean"]
Kind = Literal["draem", "pii", "growth", "coarse", "sink", "ellipses"]
Group = Literal["healthy", "diseased"]
ContrastName = Literal["t1", "t1ce", "t2", "flair"]
Level = Literal["participant", "group"]
