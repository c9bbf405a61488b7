"""NCSN++ (Song et al. 2021, App. H) as TSGM uses it: BigGAN residual blocks, FIR resampling, progressive input and
output pyramids, Fourier embedding of log sigma.

``patch > 1`` folds patch x patch pixels into channels at the input and unfolds them at the output (ours: it makes
the network affordable on a CPU). With the paper's sizes the joint model has 65,558,305 parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.fir import doubled, halved
from braincli.networks.norms import GroupNorm, bare, fused, joined

Shifts = dict[nn.Module, Tensor]  # by the layer that makes them, (B, C, 1, 1)
SHRINK = math.sqrt(0.5)  # keeps the variance of a sum of two


class NCSNpp(nn.Module):
    """Noise-conditional U-Net.

    Args:
        inputs: channels in (noisy slice and condition together).
        outputs: channels out; where they differ from ``inputs``, a last 3 x 3 convolution merges the pyramid.
        width: channels of the first level.
        multipliers: channels of level i are ``width * multipliers[i]``; each level halves the resolution.
        blocks: residual blocks per level (one more on the way up).
        attention: levels (0 = full resolution) that carry self-attention; the middle always does.
        fir: resample with the [1, 3, 3, 1] filter; else average pooling and nearest neighbour.
        pyramids: progressive input and output (the paper); else a plain U-Net with one output convolution.
        patch: pixels per side folded into channels.
        fourier_scale: bandwidth of the fixed random frequencies of the noise embedding.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (4,),
        fir: bool = True,
        pyramids: bool = True,
        patch: int = 1,
        fourier_scale: float = 16.0,
    ) -> None:
        super().__init__()
        self.patch, self.pyramids = patch, pyramids
        self.stride = patch * 2 ** (len(multipliers) - 1)
        folded, emb = inputs * patch**2, width * 4
        widths = [width * m for m in multipliers]
        deepest = len(widths) - 1
        resample = Resample(fir)

        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(width) * fourier_scale)
        self.embed = nn.Sequential(dense(2 * width, emb), nn.SiLU(), dense(emb, emb))
        self.resample = resample
        self.enter = conv(folded, width)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()

        channels, skips = width, [width]
        for level, wide in enumerate(widths):
            last = level == deepest
            stage = Down(channels, wide, folded, emb, resample, blocks, level in attention, pyramids, last)
            skips += [wide] * (blocks + (not last))
            channels = wide
            self.down.append(stage)

        self.middle = nn.ModuleList(
            [
                ResidualAttention(channels, channels, emb, resample, attend=True),
                ResidualBlock(channels, channels, emb, resample),
            ]
        )

        for level, wide in reversed(list(enumerate(widths))):
            taken = [skips.pop() for _ in range(blocks + 1)]
            out = folded if pyramids else outputs * patch**2
            writes = out if pyramids or level == 0 else 0
            self.up.append(Up(channels, wide, taken, writes, emb, resample, level in attention, level == 0))
            channels = wide
        merge = pyramids and inputs != outputs
        self.merge = conv(folded, outputs * patch**2) if merge else None
        self.shifting = [block.time for block in self.modules() if isinstance(block, ResidualBlock)]

    @property
    def out(self) -> nn.Conv2d:
        """The convolution that writes the output, ``patch``^2 channels for each of ``outputs``."""
        last = self.up[-1]
        assert isinstance(last, Up)
        made = self.merge or (last.write and last.write[-1])
        assert isinstance(made, nn.Conv2d)
        return made

    def forward(self, x: Tensor, log_sigma: Tensor) -> Tensor:
        """(B, inputs, H, W), (B,) or (1,) for all rows -> (B, outputs, H, W). H and W are multiples of ``stride``."""
        x = F.pixel_unshuffle(x, self.patch)
        phase = log_sigma[:, None] * self.frequencies[None] * 2 * math.pi
        emb = self._shifts(self.embed(torch.cat([phase.sin(), phase.cos()], dim=1)))

        pyramid, h = x, self.enter(x)
        skips = [h]
        for down in self.down:
            h, pyramid = down(h, pyramid, emb, skips)
        for block in self.middle:
            h = block(h, emb)
        out: Tensor | None = None
        for up in self.up:
            h, out = up(h, out, emb, skips)
        assert out is not None
        if self.merge is not None:
            out = self.merge(out)
        return F.pixel_shuffle(out, self.patch)

    def _shifts(self, emb: Tensor) -> Shifts:
        """What the noise level ``emb`` (B, E) adds to each block's features, in one product for all of them."""
        weight, bias = (torch.cat([getattr(layer, name) for layer in self.shifting]) for name in ("weight", "bias"))
        shifts = F.linear(F.silu(emb), weight, bias)[:, :, None, None]
        parts = shifts.split([layer.out_features for layer in self.shifting], dim=1)
        return dict(zip(self.shifting, parts, strict=True))


class Down(nn.Module):
    """One level on the way down: blocks, then (but at the deepest) half the resolution and the input pyramid."""

    def __init__(
        self, inputs: int, wide: int, pyramid: int, emb: int, resample: Resample,
        blocks: int, attend: bool, pyramids: bool, last: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [inputs, *[wide] * (blocks - 1)]
        self.blocks = nn.ModuleList(ResidualAttention(w, wide, emb, resample, attend=attend) for w in widths)
        self.shrink = None if last else ResidualBlock(wide, wide, emb, resample, move="down")
        self.combine = conv(pyramid, wide, kernel=1) if pyramids and not last else None
        self.resample = resample

    def forward(self, h: Tensor, pyramid: Tensor, emb: Shifts, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and input pyramid of the next level; what the way up needs is appended to ``skips``."""
        for block in self.blocks:
            h = block(h, emb)
            skips.append(h)
        if self.shrink is not None:
            h = self.shrink(h, emb)
            if self.combine is not None:
                pyramid = self.resample.down(pyramid)
                h = h + self.combine(pyramid)
            skips.append(h)
        return h, pyramid


class Up(nn.Module):
    """One level on the way up: blocks that take ``skips``, the output pyramid, then twice the resolution."""

    def __init__(
        self, inputs: int, wide: int, skips: Sequence[int], writes: int, emb: int, resample: Resample,
        attend: bool, last: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [inputs, *[wide] * (len(skips) - 1)]
        self.blocks = nn.ModuleList(
            ResidualBlock(w + skip, wide, emb, resample) for w, skip in zip(widths, skips, strict=True)
        )
        self.attend = Attention(wide) if attend else None
        self.write = Write(wide, writes) if writes else None
        self.grow = None if last else ResidualBlock(wide, wide, emb, resample, move="up")
        self.resample = resample

    def forward(self, h: Tensor, out: Tensor | None, emb: Shifts, skips: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Features and output pyramid of the next level; ``skips`` are used up from the end."""
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        if self.attend is not None:
            h = self.attend(h)
        if self.write is not None:
            written = self.write(h)
            out = written if out is None else self.resample.up(out) + written
        if self.grow is not None:
            h = self.grow(h, emb)
        return h, out


class ResidualBlock(nn.Module):
    """BigGAN residual block (ResnetBlockBigGAN++): optional resampling inside, output scaled by 1/sqrt 2."""

    def __init__(self, inputs: int, outputs: int, emb: int, resample: Resample, move: str = "") -> None:
        super().__init__()
        self.resample, self.move = resample, move
        self.norm_in, self.conv_in = norm(inputs), conv(inputs, outputs)
        self.time = dense(emb, outputs)
        self.norm_out, self.conv_out = norm(outputs), conv(outputs, outputs, gain=0.0)
        self.skip = conv(inputs, outputs, kernel=1) if move or inputs != outputs else None

    def forward(self, x: Tensor, emb: Shifts) -> Tensor:
        h = self.norm_in(x, then="silu")
        if self.move:
            move = self.resample.down if self.move == "down" else self.resample.up
            h, x = move(h), move(x)
        if fused(h):
            return self._in_few_passes(x, h, emb[self.time])
        h = self._with_noise_level(h, emb[self.time])
        h = self.conv_out(self.norm_out(h, then="silu"))
        return ((x if self.skip is None else self.skip(x)) + h) * SHRINK

    def _in_few_passes(self, x: Tensor, h: Tensor, shift: Tensor) -> Tensor:
        """The same on a GPU, with biases left to the kernels that follow the convolutions."""
        (bias_in, bias) = self.conv_in.bias, self.conv_out.bias
        assert bias_in is not None and bias is not None
        h = self.norm_out(bare(self.conv_in, h), bias_in + shift.flatten(1).float(), then="silu")
        if self.skip is not None:
            assert self.skip.bias is not None
            x, bias = bare(self.skip, x), bias + self.skip.bias
        return joined(x, bare(self.conv_out, h), bias, SHRINK)

    def _with_noise_level(self, h: Tensor, shift: Tensor) -> Tensor:
        """The first convolution plus ``shift`` (B, C, 1, 1); one for all rows, (1, C, 1, 1), joins its bias: a
        pass over the features less."""
        if len(shift) > 1 or torch.is_grad_enabled():
            return self.conv_in(h) + shift
        assert self.conv_in.bias is not None
        return F.conv2d(h, self.conv_in.weight, self.conv_in.bias + shift.flatten(), padding=1)


class ResidualAttention(nn.Module):
    """A residual block, followed by attention where asked."""

    def __init__(self, inputs: int, outputs: int, emb: int, resample: Resample, *, attend: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(inputs, outputs, emb, resample)
        self.attend = Attention(outputs) if attend else None

    def forward(self, x: Tensor, emb: Shifts) -> Tensor:
        x = self.block(x, emb)
        return x if self.attend is None else self.attend(x)


class Attention(nn.Module):
    """Single-head self-attention over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.query, self.key, self.value = (conv(channels, channels, kernel=1, gain=0.1) for _ in range(3))
        self.out = conv(channels, channels, kernel=1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return (x + self.out(h)) * SHRINK


class Write(nn.Sequential):
    """GroupNorm, SiLU and the convolution that writes one level of the output pyramid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(norm(inputs), nn.SiLU(), conv(inputs, outputs, gain=0.0))

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self[0](x, then="silu")
        output: Tensor = self[2](normed)
        return output


class Resample(nn.Module):
    """Halve or double the resolution, with the FIR filter or with average pooling / nearest neighbour."""

    def __init__(self, fir: bool) -> None:
        super().__init__()
        self.fir = fir

    def down(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return halved(x) if self.fir else F.avg_pool2d(x, 2)

    def up(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return doubled(x) if self.fir else F.interpolate(x, scale_factor=2, mode="nearest")


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with at most 32 groups of at least four channels."""
    return GroupNorm(math.gcd(min(max(channels // 4, 1), 32), channels), channels, eps=1e-6)


def conv(inputs: int, outputs: int, *, kernel: int = 3, gain: float = 1.0) -> nn.Conv2d:
    """Convolution with Song's uniform fan-average initialisation, zero bias."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    _initialise(layer.weight, (inputs + outputs) * kernel**2 / 2, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def dense(inputs: int, outputs: int) -> nn.Linear:
    """Linear layer with the same initialisation."""
    layer = nn.Linear(inputs, outputs)
    _initialise(layer.weight, (inputs + outputs) / 2, 1.0)
    nn.init.zeros_(layer.bias)
    return layer


def _initialise(weight: Tensor, fan: float, gain: float) -> None:
    bound = math.sqrt(3 * max(gain, 1e-10) / fan)
    nn.init.uniform_(weight, -bound, bound)
