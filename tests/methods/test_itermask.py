"""IterMask2: edges keep phases, masks shrink to what is not reconstructed, thresholds are healthy tissue's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from braincli.anomalies import hiding
from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.itermask import HealthyError, IterMask, edges

SIZE = (32, 24)
PLAIN = {"vary": 0.0, "drop": 0.0, "plant": 0.0, "transplant": 0.0}


def build(preset: str = "tiny", channels: int = 4, **settings: object) -> IterMask:
    torch.manual_seed(0)
    method = registry.build("itermask", preset=preset, settings=settings, channels=channels, size=SIZE)
    assert isinstance(method, IterMask)
    return method


def phantom(rows: int = 4, channels: int = 4) -> Batch:
    """Smooth healthy slices."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    brain = ((y**2 + x**2) < 0.9).expand(rows, 1, *SIZE).clone()
    image = (0.4 + 0.1 * torch.sin(3 * y + 2 * x)) * brain.expand(rows, channels, *SIZE)
    return Batch(image, brain, torch.zeros(rows, dtype=torch.long), torch.zeros_like(brain), torch.zeros(rows))


def with_blob(healthy: Batch, contrast: float = 0.4) -> tuple[Tensor, Tensor]:
    """The slices with a bright square in them, and where it is."""
    blob = torch.zeros_like(healthy.brain)
    blob[..., 12:20, 6:13] = True
    return (healthy.image + contrast * blob).clamp(0, 1), blob


def generators(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 * seed + row) for row in range(rows)]


class Anatomist(nn.Module):
    """Knows the healthy slice, and errs in hidden pixels by a fixed pattern, more the less it sees of a slice."""

    def __init__(self, healthy: Tensor, flagged: bool = True) -> None:
        super().__init__()
        self.healthy, self.flagged, self.calls = healthy, flagged, 0
        self.pattern = torch.rand(healthy.shape[2:], generator=torch.Generator().manual_seed(5))

    def forward(self, given: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        clean = self.healthy[: len(given)]
        mask = given[:, -1:] if self.flagged else (given[:, : clean.shape[1]] - (2 * clean - 1)).abs() > 1e-3
        error = 0.2 * self.pattern * mask.float().mean(dim=(1, 2, 3), keepdim=True)
        return 2 * (clean + error) - 1


def shrinking(image: Tensor, healthy: Batch, **settings: object) -> tuple[list[Tensor], Tensor, Tensor]:
    """Masks that were asked for, call by call; the last reconstruction and mask."""
    method = build(window=1, **settings).eval()
    method.net = Anatomist(healthy.image)  # type: ignore[assignment]
    method.healthy.scale.fill_(0.01)
    method.healthy.limit.fill_(0.2)  # an error of sqrt(0.2 * 0.01) = 0.045
    masks = []
    asked = method._inpainted
    method._inpainted = lambda *given: (masks.append(given[1]), asked(*given))[1]  # type: ignore[method-assign]
    with torch.inference_mode():
        restored, mask = method.uncover(image, healthy.brain, generators(len(image)))
    return masks, restored, mask


def test_the_mask_shrinks_step_by_step_to_the_anomaly() -> None:
    healthy = phantom()
    image, blob = with_blob(healthy)
    masks, restored, mask = shrinking(image, healthy, steps=8)
    areas = [int(m.sum()) for m in masks]
    assert torch.equal(masks[0], healthy.brain), "the whole brain is hidden at first"
    assert all(not (later & ~earlier).any() for earlier, later in pairwise(masks))
    assert len(set(areas)) >= 4, "not in one leap"
    assert torch.equal(mask, blob.expand_as(mask))
    torch.testing.assert_close(
        restored[blob.expand_as(restored)], healthy.image[blob.expand_as(restored)], atol=0.06, rtol=0
    )
    assert torch.equal(restored[~mask], image[~mask]), "what is not marked stays as it was"


def test_nothing_stays_hidden_of_a_healthy_slice() -> None:
    healthy = phantom()
    _, restored, mask = shrinking(healthy.image, healthy, steps=8)
    assert mask.float().sum() < 0.02 * healthy.brain.sum() * 4
    assert torch.equal(restored[~mask], healthy.image[~mask])


def test_a_row_ends_by_its_own_mask() -> None:
    """The healthy row of a batch ends as it does alone, and more steps change nothing of what has ended."""
    healthy = phantom(2)
    image, _ = with_blob(healthy)
    image[1] = healthy.image[1]
    _, both, masks = shrinking(image, healthy, steps=8)
    one = healthy.rows(torch.tensor([1]))
    _, alone, mask = shrinking(image[1:], one, steps=8)
    assert torch.equal(both[1:], alone) and torch.equal(masks[1:], mask)
    assert torch.equal(both, shrinking(image, healthy, steps=16)[1])


def test_the_first_step_keeps_the_slices_own_share() -> None:
    healthy = phantom()
    masks, _, _ = shrinking(healthy.image, healthy, steps=1, keep=0.3)
    share = masks[1].float().sum(dim=(1, 2, 3)) / healthy.brain.float().sum(dim=(1, 2, 3))
    torch.testing.assert_close(share, torch.full((4,), 0.3), rtol=0, atol=0.005)


def test_what_has_ended_keeps_its_reconstruction_though_noise_goes_on() -> None:
    """A larger ``least`` ends every row after the first step; noise drawn later changes nothing."""
    healthy = phantom()
    image, _ = with_blob(healthy)
    given: dict[str, object] = {"hidden": "noise", "least": 0.99}
    short, long = build(steps=1, **given).eval(), build(steps=5, **given).eval()
    with torch.no_grad():
        for method in (short, long):
            torch.manual_seed(1)
            for parameter in method.net.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        results = [m.predict(image, healthy.brain, generators(4)).restored for m in (short, long)]
    assert results[0] is not None and results[1] is not None
    assert torch.equal(*results)


def test_single_contrasts_are_restored_each_by_itself() -> None:
    """A mask for each contrast: what another one holds, and the batch around a row, change nothing."""
    method = build(contrasts="single", first=True, hidden="noise", window=1).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    healthy = phantom(3)
    image, _ = with_blob(healthy)
    image[:, 1] = 0
    other = torch.cat([image[:, :3], 0.5 * image[:, 3:]], dim=1)
    with torch.inference_mode():
        whole, changed = (method.predict(part, healthy.brain, generators(3)).restored for part in (image, other))
        alone = method.predict(image[2:], healthy.brain[2:], generators(3)[2:]).restored
    assert whole is not None and changed is not None and alone is not None
    assert not whole[:, 1].any(), "an absent contrast stays absent"
    assert torch.equal(whole[:, :3], changed[:, :3]) and not torch.equal(whole[:, 3], changed[:, 3])
    torch.testing.assert_close(alone, whole[2:], rtol=1e-4, atol=1e-5)


def test_learns_to_find_a_blob_from_healthy_slices() -> None:
    """Trained on nothing but healthy phantoms, the mask ends on the blob, and leaves the place where it is healthy."""
    method = build(channels=1, lesson=PLAIN, width=16, steps=4, window=5)
    drawn = torch.Generator().manual_seed(0)

    def slices(rows: int) -> Batch:
        batch = phantom(rows, 1)
        texture = nn.functional.interpolate(torch.randn(rows, 1, 5, 4, generator=drawn), SIZE, mode="bicubic")
        return batch.with_image((batch.image + 0.05 * texture).clamp(0, 1) * batch.brain)

    optimizer = method.optimizers("main")["net"]
    for _ in range(120):
        ((_, loss, _),) = method.learn(slices(8), "main", drawn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    healthy = slices(8)
    image, blob = with_blob(healthy)
    with torch.inference_mode():
        restored, sick = method.eval().uncover(image, healthy.brain, generators(8))
        _, well = method.uncover(healthy.image, healthy.brain, generators(8))
    assert (sick & blob).sum() > 0.95 * blob.sum(), "the blob stays hidden"
    assert (well & blob).sum() < 0.6 * blob.sum(), "but for its contrast it would not"
    assert well.sum() < 0.5 * healthy.brain.sum()
    residual = (image - restored).abs()
    assert residual[blob].mean() > 6 * residual[healthy.brain & ~blob].mean()


def test_paper_has_a_network_for_edges_alone_and_restores_with_noise() -> None:
    with torch.device("meta"):
        method = build("paper", channels=1)
    assert method.first is not None
    assert (method.first.enter.in_channels, method.net.enter.in_channels) == (1, 2)
    assert method.config.stochastic and method.calls() == 21
    options = {name: o.param_groups[0] for name, o in method.optimizers("main").items()}
    assert set(options) == {"first", "net"}
    assert all(group["lr"] == 1e-4 and group["weight_decay"] == 0 for group in options.values())


@pytest.mark.parametrize("inside", [True, False])
def test_untrained_reconstruction_is_grey_which_the_loss_says(inside: bool) -> None:
    """Zero output is 0.5 everywhere: the loss is the mean distance to it, in hidden pixels or in the whole slice."""
    method = build(inside=inside, whole=0.0, lesson=PLAIN | {"leave_out": inside})
    given = phantom()
    ((_, loss, _),) = method.learn(given, "main", torch.Generator().manual_seed(3))
    drawn = hiding.draw(tuple(given.image.shape), torch.Generator().manual_seed(3), share=method.config.share)
    mask = hiding.apply(given.brain, drawn).expand_as(given.image)
    distance = (given.image - 0.5).abs()
    assert loss.item() == pytest.approx((distance[mask] if inside else distance).mean().item(), rel=1e-4)


def test_single_contrasts_learn_with_a_limit_for_each() -> None:
    method = build(contrasts="single", first=True, hidden="noise", window=1, whole=1.0, lesson=PLAIN)
    given = phantom()
    image = given.image * torch.tensor([0.5, 1.0, 1.5, 0.0])[:, None, None]
    names = [name for name, _, _ in method.learn(given.with_image(image), "main", torch.Generator().manual_seed(3))]
    assert names == ["first", "net"]
    inside = given.brain.expand_as(image)
    expected = [((image[:, c] - 0.5) ** 2)[inside[:, c]].mean() for c in range(3)]  # untrained: grey
    torch.testing.assert_close(method.healthy.scale, torch.tensor([*expected, 0.01]), rtol=1e-4, atol=0)
    assert method.healthy.seen.tolist() == [1, 1, 1, 0]
    assert method.healthy.limit[3] == 1.5 and (method.healthy.limit[:3] != 1.5).all()


def test_lesions_are_left_out_of_what_healthy_error_is_learnt_from() -> None:
    given = phantom()
    lesion = given.lesion.clone()
    lesion[:, :, :16] = True
    bright = torch.where(lesion, 1.0, given.image) * given.brain
    for image, mark in ((given.image, given.lesion), (bright, lesion)):
        method = build(lesson=PLAIN, whole=1.0)
        list(method.learn(replace(given, image=image, lesion=mark), "main", torch.Generator().manual_seed(3)))
        assert method.healthy.scale.max() < 0.03, "grey to a lesion's 1 would be 0.25"


def test_edges_lose_low_amplitudes_and_keep_the_rest() -> None:
    x = torch.arange(64.0)
    slow, fast = (0.2 * torch.cos(2 * torch.pi * x * k / 64).expand(1, 1, 48, 64) for k in (3, 20))
    seen = edges(0.5 + slow + fast, 8 / 64)
    torch.testing.assert_close(seen, 2 * fast, rtol=0, atol=3e-3, msg="scaled to [-1, 1], as the network's images")
    untouched = edges(0.5 + slow, 0.0)
    torch.testing.assert_close(untouched, 2 * slow, rtol=0, atol=1e-5)


def test_misfit_is_the_mean_over_contrasts_that_are_there() -> None:
    method, given = build(window=1), phantom()
    method.healthy.scale.copy_(torch.tensor([0.01, 0.02, 0.04, 0.08]))
    image = given.image.clone()
    image[0, 2:] = 0
    misfit = method.misfit(image, (image + 0.1) * given.brain, given.brain)
    inside = given.brain[:, 0]
    torch.testing.assert_close(misfit[0, 0][inside[0]], torch.tensor((1 + 0.5) / 2).expand(int(inside[0].sum())))
    torch.testing.assert_close(
        misfit[1, 0][inside[1]], torch.tensor((1 + 0.5 + 0.25 + 0.125) / 4).expand(int(inside[1].sum()))
    )
    assert not misfit[~given.brain].any()


def test_window_averages_over_hidden_pixels_alone() -> None:
    method, given = build(window=5), phantom()
    mask = given.brain.clone()
    mask[..., 12:] = False
    flat = method.misfit(given.image, given.image + 0.1, mask)
    torch.testing.assert_close(flat[mask], torch.ones(int(mask.sum())), rtol=1e-4, atol=0)
    assert not flat[~mask].any()


@pytest.mark.parametrize("contrasts", ["stacked", "single"])
def test_limits_are_exceeded_by_the_given_share_of_healthy_tissue(contrasts: str) -> None:
    method = build(contrasts=contrasts, window=1, exceed=0.2)
    given, size = phantom(8), torch.tensor([0.02, 0.05, 0.1, 0.2])[:, None, None]
    source = torch.Generator().manual_seed(0)
    tissue = given.brain.expand_as(given.image)

    def errors() -> Tensor:
        return given.image + size * torch.randn(given.image.shape, generator=source)

    for _ in range(60):
        method.healthy.update(given.image, errors(), tissue, method.misfit)
    torch.testing.assert_close(method.healthy.scale, size.flatten() ** 2, rtol=0.1, atol=0)
    rows = tissue if contrasts == "single" else given.brain
    found = method.misfit(given.image, errors(), rows.reshape(-1, 1, *SIZE))
    above = (found > method.healthy.limits(8))[rows.reshape(-1, 1, *SIZE)].float().mean()
    assert above.item() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"window": 4}, "window is odd"), ({"share": (0.5, 0.2)}, "shares of the brain"), ({"keep": 0.0}, "keep")],
)
def test_options_that_make_no_sense(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build(**settings)


def test_contrasts_that_are_missing_leave_their_scale_alone() -> None:
    method, given = build(window=1), phantom()
    healthy: HealthyError = method.healthy
    tissue = given.brain.expand_as(given.image).clone()
    tissue[:, 1] = False
    healthy.update(given.image, given.image + 0.3, tissue, method.misfit)
    torch.testing.assert_close(healthy.scale, torch.tensor([0.09, 0.01, 0.09, 0.09]))
    before = healthy.limit.clone()
    healthy.update(given.image, given.image, torch.zeros_like(tissue), method.misfit)
    assert torch.equal(healthy.limit, before), "no tissue, nothing learnt"
