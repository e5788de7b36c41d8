"""Crops and flips: the same pixels, and the same distribution, as torchvision's transforms."""

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from lthpaper.data.augment import crop_flip, draws, normalised, padded
from lthpaper.torchvision_compat import torchvision


def pictures(n: int, size: int, channels: int) -> torch.Tensor:
    """(N, H, W, C) uint8 noise without zeros, so that padding stands out."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n, size, size, channels), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("size", "pad", "channels"), [(8, 1, 1), (32, 4, 3), (28, 2, 1), (5, 0, 3)])
def test_every_shift_and_flip_gives_torchvisions_pixels(size, pad, channels):
    functional = torchvision().transforms.v2.functional
    images = pictures(2, size, channels)
    offsets = torch.arange(2 * pad + 1)
    shift = torch.cartesian_prod(offsets, offsets).repeat(2, 1)  # (B, 2)
    flip = torch.arange(len(shift)) >= len(shift) // 2  # (B,)
    index = torch.tensor([[0], [1]]).expand(2, len(shift))
    crops = crop_flip(
        padded(images, pad), index, shift.expand(2, -1, -1), flip.expand(2, -1), size
    )  # (K, B, C, H, W)
    assert crops.dtype == torch.uint8
    for k, image in enumerate(images.permute(0, 3, 1, 2)):
        for b, (top, left) in enumerate(shift.tolist()):
            expected = functional.crop(functional.pad(image, [pad] * 4), top, left, size, size)
            expected = functional.horizontal_flip(expected) if flip[b] else expected
            assert torch.equal(crops[k, b], expected), (k, top, left, bool(flip[b]))


def test_each_run_gets_its_own_images_shifts_and_flips():
    images, pad, size = pictures(6, 6, 3), 2, 6
    index = torch.tensor([[0, 3, 5], [5, 1, 0]])
    shift = torch.tensor([[[0, 1], [4, 2], [2, 2]], [[3, 3], [0, 0], [1, 4]]])
    flip = torch.tensor([[True, False, True], [False, True, False]])
    together = crop_flip(padded(images, pad), index, shift, flip, size)
    for k in range(2):
        for b in range(3):
            at = slice(b, b + 1)
            alone = crop_flip(
                padded(images, pad), index[k, None, at], shift[k, None, at], flip[k, None, at], size
            )
            assert torch.equal(together[k, b], alone[0, 0])


def test_the_middle_crop_without_a_flip_is_the_image():
    images = pictures(3, 32, 3)
    middle = torch.full((1, 3, 2), 4)
    crops = crop_flip(padded(images, 4), torch.arange(3)[None], middle, torch.zeros(1, 3, dtype=bool), 32)
    assert torch.equal(crops[0], images.permute(0, 3, 1, 2))


def test_padding_is_zero_and_leaves_the_pixels_alone():
    images = pictures(2, 5, 3)
    wide = padded(images, 3)
    assert wide.shape == (2, 11, 11, 3)
    assert torch.equal(wide[:, 3:8, 3:8], images)
    assert int(wide.sum()) == int(images.sum())


def cells(shift: torch.Tensor, flip: torch.Tensor, pad: int) -> torch.Tensor:
    """How often each of the (2·pad + 1)² · 2 outcomes was drawn."""
    side = 2 * pad + 1
    return torch.bincount((shift[:, 0] * side + shift[:, 1]) * 2 + flip, minlength=2 * side**2)


def torchvisions_draws(n: int, size: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What RandomCrop and RandomHorizontalFlip drew, read off an image that numbers its pixels."""
    v2 = torchvision().transforms.v2
    transform = v2.Compose([v2.RandomCrop(size, padding=pad), v2.RandomHorizontalFlip()])
    numbered = torch.arange(1, size * size + 1).reshape(1, size, size)
    middle = size // 2  # of an odd size: a flip leaves it in place, and no shift moves padding there
    shifts, flips = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(n):
            crop = transform(numbered)[0]
            row, column = divmod(int(crop[middle, middle]) - 1, size)
            shifts.append((row - middle + pad, column - middle + pad))
            flips.append(bool(crop[middle, middle - 1] > crop[middle, middle + 1]))
    return torch.tensor(shifts), torch.tensor(flips)


def test_shifts_and_flips_are_distributed_as_torchvisions():
    pad, n = 2, 5000
    _, shift, flip = draws(seed=0, epoch=0, n=n, pad=pad, flip=True)
    ours, theirs = cells(shift, flip, pad), cells(*torchvisions_draws(n, 7, pad), pad)
    assert ours.sum() == theirs.sum() == n
    # uniform over shifts and flips jointly, and not more evenly than chance allows
    assert 0.005 < chisquare(ours).pvalue < 0.995
    assert 0.005 < chisquare(theirs).pvalue < 0.995
    assert 0.005 < chi2_contingency(torch.stack([ours, theirs]).numpy()).pvalue < 0.995


def test_every_image_comes_once_an_epoch():
    order, shift, flip = draws(seed=3, epoch=7, n=101, pad=4, flip=True)
    assert torch.equal(order.sort().values, torch.arange(101))
    assert shift.shape == (101, 2)
    assert flip.shape == (101,)
    assert flip.dtype == torch.bool


def test_draws_depend_on_seed_and_epoch_alone():
    torch.manual_seed(0)
    first = draws(1, 2, 50, 4, True)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = draws(1, 2, 50, 4, True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (draws(1, 3, 50, 4, True), draws(2, 2, 50, 4, True)):
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_flips_the_order_and_the_shifts_stay_the_same():
    order, shift, flip = draws(1, 2, 50, 4, True)
    order_, shift_, flip_ = draws(1, 2, 50, 4, False)
    assert torch.equal(order, order_)
    assert torch.equal(shift, shift_)
    assert flip.any()
    assert not flip_.any()


def test_without_padding_nothing_is_shifted():
    assert not draws(0, 0, 50, 0, True)[1].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_pixels_have_the_same_bits_and_layout_in_both_layouts(dtype, channels):
    last = pictures(4, 7, channels).unflatten(0, (2, 2))  # (K, B, H, W, C)
    mean, std = (
        torch.tensor(v[:channels], dtype=torch.float64) for v in ([0.48, 0.46, 0.41], [0.2, 0.3, 0.1])
    )
    plain = last.movedim(-1, -3).contiguous()
    found, expected = (normalised(x, mean, std, dtype) for x in (last.movedim(-1, -3), plain))
    assert torch.equal(found, expected)
    assert found.dtype == dtype
    assert expected.is_contiguous()
    assert found.movedim(-3, -1).is_contiguous()
    exact = (plain.double() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(found.double(), exact, atol={torch.bfloat16: 0.1}.get(dtype, 1e-5))
