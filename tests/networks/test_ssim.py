"""SSIM against scikit-image, its range and its gradient."""

from __future__ import annotations

import torch
from skimage.metrics import structural_similarity

from braincli.networks.ssim import ssim


def test_agrees_with_scikit_image() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 2, 24, 20)
    similarity = ssim(x, y, window=11, sigma=1.5)
    for channel in range(2):
        _, expected = structural_similarity(
            x[0, channel].numpy(), y[0, channel].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        inner = (slice(5, -5), slice(5, -5))  # the borders are padded otherwise
        torch.testing.assert_close(
            similarity[0, channel][inner], torch.from_numpy(expected)[inner], rtol=1e-3, atol=1e-4
        )


def test_range_and_gradient() -> None:
    x = torch.rand(1, 1, 12, 12)
    torch.testing.assert_close(ssim(x, x, window=5), torch.ones_like(x))
    zero = torch.zeros_like(x).requires_grad_()
    assert torch.equal(ssim(zero, zero, window=5), torch.ones_like(x)), "background is alike"
    opposite = (0.5 - x).requires_grad_()
    similarity = ssim(x - 0.5, opposite, window=5)
    assert -1 <= float(similarity.detach().min()) < -0.9
    similarity.sum().backward()
    assert torch.isfinite(opposite.grad).all()


def test_autocast_takes_no_digits_away() -> None:
    """Variances are small differences of large sums: in 16 bits they are noise."""
    torch.manual_seed(0)
    image = 0.8 + 0.02 * torch.rand(1, 2, 24, 24)
    other = image + 0.01 * torch.rand_like(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ssim(image, other)
    assert torch.equal(mixed, ssim(image, other))
