"""Images from what a PyTorch script has: data sets of (image, label), as torchvision and TensorDataset give.

Here images are whole pixels, and crops, flips and normalisation come with the training. So a data set is read
without its random transforms and without `Normalize`, each image once, into memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lthpaper.data import Images
from lthpaper.errors import InputError, require

NUMBERED = (
    "Labels count the classes from 0, and a class without training images cannot be learned: "
    "torch.unique(labels, return_inverse=True)[1] numbers those that there are."
)


def images(train: Sequence[tuple[Any, Any]], test: Sequence[tuple[Any, Any]]) -> Images:
    """Both parts, decoded. An image is a tensor (C, H, W) or (H, W), an array (H, W, C) or (H, W), or a PIL
    image, grey or RGB; whole numbers are pixels from 0 to 255, floats are pixels from 0 to 1.

    classes: those that the training data name (`train.classes`), else the labels' numbers. Raises InputError
    for images that are none of these or of several sizes, and for random transforms.
    """
    pixels, labels = _read("training", train)
    tests, test_labels = _read("test", test)
    named = getattr(train, "classes", None)
    every = torch.cat([labels, test_labels])
    require(int(every.min()) >= 0, f"A label is {int(every.min())}. {NUMBERED}")
    count = 1 + int(every.max())
    classes = tuple(map(str, named if named is not None else range(count)))
    unseen = sorted(set(range(len(classes))) - set(labels.tolist()))
    require(
        not unseen,
        f"No training image has the label {', '.join(map(str, unseen[:3]))}{', …' * (len(unseen) > 3)}. "
        + NUMBERED,
    )
    return Images(pixels, labels, tests, test_labels, classes, f"a {type(train).__name__}")


def _read(part: str, data: Sequence[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
    """(N, H, W, C) uint8, (N,) int64."""
    read = list(_pairs(part, data))
    require(bool(read), f"The {part} data are empty; a network is trained on some images, tested on others.")
    found = [image for image, _ in read]
    sizes = sorted({tuple(image.shape) for image in found})
    require(
        len(sizes) == 1,
        f"The {part} images have several sizes (height, width, channels): {', '.join(map(str, sizes[:3]))}. "
        "Resize them to one, or name a folder of photographs (data/README.md).",
    )
    require(
        torch.equal(found[0], _pixels(part, data[0][0])),
        f"The first of the {part} images is another one when it is read again: leave random transforms out, "
        "since the training crops and flips by itself.",
    )
    return torch.stack(found), torch.tensor([label for _, label in read])


def _pairs(part: str, data: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Tensor, int]]:
    try:
        count = len(data)
    except TypeError as error:
        raise InputError(
            f"The {part} data are a {type(data).__name__}, which has no length; give a data set, or a list, "
            "of pairs (image, label)."
        ) from error
    for i in range(count):
        try:
            image, label = data[i]
            number = int(label)
            require(number == label, f"the label {label!r} is no whole number")
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"Number {i} of the {part} data is no pair of an image and a label ({error}); give a "
                "data set of such pairs, such as TensorDataset(images, labels)."
            ) from error
        yield _pixels(part, image), number


def _pixels(part: str, image: Any) -> Tensor:
    """(H, W, C) uint8."""
    is_tensor = isinstance(image, Tensor)
    if is_tensor:
        found = image.detach().cpu()
    else:
        mode = getattr(image, "mode", "RGB")  # of a PIL image
        require(
            mode in ("L", "RGB"),
            f"A {part} image has the mode {mode!r}: convert it by .convert('RGB') or .convert('L').",
        )
        try:
            found = torch.from_numpy(np.array(image))
        except TypeError as error:
            raise InputError(
                f"A {part} image is a {type(image).__name__}; it must be a tensor, an array or a PIL image."
            ) from error
    channels, other = (0, -1) if is_tensor else (-1, 0)
    grey_or_rgb = (1, 3)
    turned = found.shape[other] in grey_or_rgb and found.shape[channels] not in grey_or_rgb
    require(
        found.ndim == 2 or (found.ndim == 3 and not turned),
        f"A {part} image is {'a tensor' if is_tensor else 'an array'} {tuple(found.shape)}; a tensor is "
        "(C, H, W) or (H, W), an array (H, W, C) or (H, W).",
    )
    if found.ndim == 2:
        found = found[..., None]
    elif is_tensor:
        found = found.permute(1, 2, 0)
    top = 1 if found.is_floating_point() else 255
    low, high = float(found.min()), float(found.max())
    bytes_as_floats = top == 1 and low >= 0 and 1 < high <= 255
    remedy = (
        "Divide them by 255" if bytes_as_floats else "Leave Normalize out: the training normalises by itself"
    )
    require(
        0 <= low <= high <= top,
        f"A {part} image has {'float' if top == 1 else 'whole'} values from {low:g} to {high:g}; pixels are "
        f"integers from 0 to 255 or floats from 0 to 1. {remedy}.",
    )
    return (found * 255).round().to(torch.uint8) if found.is_floating_point() else found.to(torch.uint8)
