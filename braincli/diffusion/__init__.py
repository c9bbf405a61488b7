"""Diffusion as orthogonal parts: levels, preconditioning, samplers, noise. One contract joins them:

a denoiser ``D(x, sigma) -> x0`` with ``x`` (B, C, H, W) and ``sigma`` (B,).
"""
