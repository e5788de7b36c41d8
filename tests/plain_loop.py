"""The training that the engine must equal: nn.Module, torch.optim, a torch scheduler, one at a time.

And few digits to train on, and what equal bits are.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from lthpaper import data, networks
from lthpaper.data import DataSet
from lthpaper.data.augment import draws, padded
from lthpaper.runs.masks import Mask
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.training.result import Trained, Weights


def few_digits(train: int = 300, test: int = 100, **card: object) -> DataSet:
    """The first digits of each part, so that a training takes a moment; card: changes of its fields."""
    whole = data.load("digits")
    images = dataclasses.replace(
        whole.images,
        train=whole.images.train[:train],
        train_labels=whole.images.train_labels[:train],
        test=whole.images.test[:test],
        test_labels=whole.images.test_labels[:test],
    )
    return dataclasses.replace(whole, images=images, card=dataclasses.replace(whole.card, **card))


def bits(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Tensors as values that can be compared: equal where every bit is."""
    return {name: t.contiguous().numpy().tobytes() for name, t in tensors.items()}


def same_bits(one: Trained, other: Trained) -> bool:
    """Weights, batch-norm statistics and curves; NaN equals NaN."""
    return bits(one.weights) == bits(other.weights) and repr(one.curves) == repr(other.curves)


def scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> tuple[lr_scheduler.LRScheduler, bool]:
    """torch's scheduler of a recipe, and whether it is stepped after every batch (else every epoch)."""
    warm = round(recipe.warmup_epochs * steps)
    if recipe.schedule == "step" and not warm:
        return lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), recipe.gamma), False
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * steps - warm)
    if not warm:
        return cosine, True
    linear = lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), 1.0, warm)
    return lr_scheduler.SequentialLR(optimizer, [linear, cosine], [warm]), True


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """torch's own optimizer of a recipe. decay_norms=False: norms and biases in a group without decay."""
    spared = [p for p in network.parameters() if p.ndim <= 1 and not recipe.decay_norms]
    others = [p for p in network.parameters() if not any(p is q for q in spared)]
    groups = [{"params": others}, *([{"params": spared, "weight_decay": 0.0}] if spared else [])]
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, 0.999)
        return torch.optim.AdamW(groups, recipe.lr, betas, weight_decay=recipe.weight_decay)
    nesterov = recipe.optimizer == "nesterov"
    return torch.optim.SGD(
        groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=nesterov
    )


def batch(images: DataSet, index: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """(B, C, H, W) float64: each image cropped by slicing, flipped, normalised as torchvision does."""
    card, source = images.card, padded(images.images.train, images.card.pad)
    crops = []
    for i, (row, column), flipped in zip(index.tolist(), shift.tolist(), flip.tolist(), strict=True):
        crop = source[i, row : row + card.size, column : column + card.size].permute(2, 0, 1)
        crops.append(crop.flip(-1) if flipped else crop)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (card.mean, card.std))
    return (torch.stack(crops).double() / 255 - mean) / std


def plain_training(
    run: Run, start: Weights | nn.Module, mask: Mask | None, images: DataSet
) -> tuple[list[float], nn.Module]:
    """The loss of every step, in float64, and the trained network. Masks: gradient and weight zeroed.

    start: weights for the run's network, or the network itself.
    """
    recipe, card = run.recipe, images.card
    if isinstance(start, nn.Module):
        network = start
    else:
        network = networks.build_seeded(0, **run.task.shape)
        network.load_state_dict(start)
    network.double()
    n = len(images.images.train)
    steps = -(-n // recipe.batch_size)
    optimizer = optimizer_of(network, recipe)
    schedule, by_batch = scheduler(optimizer, recipe, steps)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    losses = []
    for epoch in range(recipe.epochs):
        network.train()
        order, shift, flip = draws(run.seed, epoch, n, card.pad, card.flip)
        for first in range(0, n, recipe.batch_size):
            part = slice(first, first + recipe.batch_size)
            x = batch(images, order[part], shift[part], flip[part])
            loss = criterion(network(x), images.images.train_labels[order[part]])
            optimizer.zero_grad()
            loss.backward()
            for name, weight in network.named_parameters():
                if mask and name in mask:
                    weight.grad[~mask[name]] = 0
            if recipe.clip:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            for name, weight in network.named_parameters():
                if mask and name in mask:
                    weight.data[~mask[name]] = 0
            losses.append(float(loss.detach()))
            if by_batch:
                schedule.step()
        if not by_batch:
            schedule.step()
    return losses, network
