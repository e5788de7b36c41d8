"""Random crops and flips of whole batches, in one gather on the device, those of the authors' code.

The random draws depend on a seed and an epoch only, and are made on the CPU. So they are the same on every
device, whatever shares the pack, and whether or not the training was stopped and resumed.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from lthpaper.data import Card


def derived_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all parts: independent streams from one run's seed.

    torch's generators on the CPU (MT19937) use its lowest 32 bits alone: among n streams any two are equal
    with a probability of n²/2³³, 3e-4 for ten seeds of 160 epochs.
    """
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def draws(seed: int, epoch: int, n: int, pad: int, flip: bool) -> tuple[Tensor, Tensor, Tensor]:
    """One epoch's order (n,) int64, crop offsets (n, 2) int64 in [0, 2·pad], flips (n,) bool.

    Offsets and flips are indexed by position in the epoch, not by image.
    """
    generator = torch.Generator().manual_seed(derived_seed("epoch", seed, epoch))
    order = torch.randperm(n, generator=generator)
    shift = torch.randint(0, 2 * pad + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n,), generator=generator).bool() & flip
    return order, shift, flips


def padded(images: Tensor, pad: int) -> Tensor:
    """(N, H, W, C) uint8 -> (N, H+2·pad, W+2·pad, C), padded with zeros before normalisation, as the authors
    do."""
    n, height, width, channels = images.shape
    out = images.new_zeros(n, height + 2 * pad, width + 2 * pad, channels)
    out[:, pad : pad + height, pad : pad + width] = images
    return out


def crop_flip(images: Tensor, index: Tensor, shift: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crops of padded images (N, H', W', C): index (K, B), shift (K, B, 2), flip (K, B).

    Returns (K, B, C, size, size) of the same dtype.
    """
    k, b = index.shape
    steps = torch.arange(size, device=images.device)
    rows = shift[..., 0, None] + steps  # (K, B, size)
    columns = torch.where(flip[..., None], steps.flip(0), steps) + shift[..., 1, None]
    side = images.shape[2]
    places = rows[..., :, None] * side + columns[..., None, :]  # (K, B, size, size)
    places += index[..., None, None] * (images.shape[1] * side)
    pixels = images.reshape(-1, images.shape[3]).index_select(0, places.reshape(-1))
    return pixels.view(k, b, size, size, images.shape[3]).permute(0, 1, 4, 2, 3)  # b may be 0


def normalised(pixels: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (..., C, H, W) -> (pixels/255 − mean)/std in `dtype`, in the same layout; mean, std: (C,)."""
    scale = (1 / (255 * std)).to(dtype)
    offset = (mean / std).to(dtype)
    last = pixels.movedim(-3, -1)  # (..., H, W, C)
    if pixels.device.type == "cpu" and last.is_contiguous() and not pixels.is_contiguous():
        # rows of W·C numbers: a CPU's loops over three channels take three times as long
        width = last.shape[-2]
        rows = last.flatten(-2).to(dtype).mul_(scale.repeat(width)).sub_(offset.repeat(width))
        return rows.unflatten(-1, (width, -1)).movedim(-1, -3)
    return pixels.to(dtype) * scale[:, None, None] - offset[:, None, None]


def as_tested(pixels: Tensor, card: Card, dtype: torch.dtype) -> Tensor:
    """uint8 (N, H, W, C) -> (N, C, H, W), normalised by the card, neither cropped nor flipped."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (card.mean, card.std))
    return normalised(pixels.permute(0, 3, 1, 2), mean, std, dtype)


def mixing(seed: int, alpha: float, n: int) -> tuple[float, Tensor]:
    """Mixup's draw for n images (Zhang et al. 2018): λ ~ Beta(alpha, alpha), each image's partner (n,)."""
    share = float(np.random.Generator(np.random.PCG64(seed)).beta(alpha, alpha))
    return share, torch.randperm(n, generator=torch.Generator().manual_seed(seed))
