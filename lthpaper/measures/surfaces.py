"""Losses on a plane, many grid points at once: packs of networks in evaluation over the same images.

Batch-norm is folded into the convolutions, no graph is kept for gradients, and on a CPU images lie
channels last, one thread per pack. In float32 the losses are the plain network's to about 1e-5 of their
size (rounding); "bf16" computes convolutions in bfloat16 and is within about 2 % of a loss above 0.1.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lthpaper import networks
from lthpaper.cache import NO_ARRAYS
from lthpaper.data import DataSet
from lthpaper.data.augment import as_tested, derived_seed
from lthpaper.errors import require
from lthpaper.measures.folding import fold
from lthpaper.measures.planes import Plane, Sample
from lthpaper.measures.refinement import refined
from lthpaper.runs.task import Task
from lthpaper.store.entry import replacing
from lthpaper.sweep.plan import worker_count
from lthpaper.training.pack import repeatable
from lthpaper.training.stacking import program

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
SAVE_EVERY = 10.0  # seconds between partial results


@dataclass(frozen=True)
class Surface:
    """loss, computed: (len(y), len(x)). Mean cross-entropy in nats, interpolated where not computed."""

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    computed: np.ndarray


def sample(data: DataSet, count: int, seed: int = 0) -> Sample:
    """`count` training images (all, if there are fewer), without augmentation: the same for every surface."""
    require(count >= 1, f"The surface is to be taken over {count} images; it needs one or more.")
    n, card = len(data.images.train), data.card
    generator = torch.Generator().manual_seed(derived_seed("surface", seed))
    chosen = torch.randperm(n, generator=generator)[:count].sort().values
    train = data.images.train
    if isinstance(train, Tensor):
        pixels = train[chosen]
    else:
        from lthpaper.training.streaming import test_pixels  # imports torchvision

        pixels = test_pixels(train, chosen.tolist(), card)
    images = as_tested(pixels, card, torch.float64)
    return Sample(images, data.images.train_labels[chosen], sample_name(data.fingerprint, n, count, seed))


def sample_name(fingerprint: str, images: int, count: int, seed: int = 0) -> str:
    """Names what `sample` chooses from a data set of this fingerprint and number of training images."""
    return f"{fingerprint}-{images}-{min(count, images)}-{seed}"


def pack_shape(image_size: int, device: torch.device) -> tuple[int, int]:
    """(networks a pack, images a batch) that measured fastest; bits depend on neither device's load.

    On a CPU 8×8 images gain from packs, and 16×16 and 32×32 lose (a pack spills the cache).
    """
    if device.type != "cpu":
        return 16, 500
    return (4, 2000) if image_size <= 8 else (1, 500)


class Evaluator:
    """The losses of one plane's points on one sample."""

    def __init__(
        self,
        task: Task,
        plane: Plane,
        sample: Sample,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ):
        require(
            precision in PRECISIONS,
            f"The precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.",
        )
        self.device, self.dtype = torch.device(device), PRECISIONS[precision]
        network = networks.loaded(plane.origin, **task.shape).double().eval()
        network, factors = fold(network)
        state = networks.tensors(network)
        self.pack, self.batch = pack_shape(sample.images.shape[-1], self.device)
        self.forward, self.not_stacked = program(
            network.float(), sample.images[:4].float(), channels_last=self.device.type == "cpu"
        )
        self.fixed = {
            n: self._cast(t).expand(self.pack, *t.shape).contiguous()
            for n, t in state.items()
            if n not in plane.names
        }
        scale = {n: factors.get(n, 1.0) for n in plane.names}
        self.moving = {
            n: torch.stack([state[n], plane.u[n] * scale[n], plane.v[n] * scale[n]]).to(self.device)
            for n in plane.names
        }  # each (3, *shape) float64: origin, u, v
        self.images = sample.images.to(self.device, self.dtype)
        self.labels = sample.labels.to(self.device)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)

    @torch.inference_mode()
    def __call__(self, points: np.ndarray) -> np.ndarray:
        """points: (P, 2), at most a pack -> losses (P,), float64. A short pack repeats its last point, so
        that a point's bits do not depend on where in the list it stands."""
        full = np.concatenate([points, points[-1:].repeat(self.pack - len(points), 0)])
        factors = torch.tensor(np.column_stack([np.ones(self.pack), full]), device=self.device)
        state = self.fixed | {
            n: self._cast((factors @ parts.view(3, -1)).view(self.pack, *parts.shape[1:]))
            for n, parts in self.moving.items()
        }
        total = torch.zeros(self.pack, dtype=torch.float64, device=self.device)
        for images, labels in zip(self.images.split(self.batch), self.labels.split(self.batch), strict=True):
            logits = self.forward(state, images.expand(self.pack, *images.shape), False).double()
            repeated = labels.expand(self.pack, -1).flatten()
            losses = F.cross_entropy(logits.flatten(0, 1), repeated, reduction="none")  # (K·B,)
            total += losses.view(self.pack, -1).sum(1)
        return (total[: len(points)] / len(self.labels)).cpu().numpy()


def losses(
    evaluate: Evaluator,
    points: np.ndarray,
    file: str | Path | None = None,
    key: str = "",
    workers: int | None = None,
    quiet: bool = False,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    """Losses (P,) at points (P, 2); NaN where logits are not finite.

    wanted: (P,) bool, which points (None: all); others have NaN, or what the file has. file: partial results,
    written every few seconds beside and renamed, and taken up again if they carry the same `key` and points.
    workers: threads, one pack each (one per core on a CPU).
    """
    found, done = _resume(file, key, points)
    todo = np.flatnonzero(~done if wanted is None else wanted & ~done)
    packs = [todo[i : i + evaluate.pack] for i in range(0, len(todo), evaluate.pack)]
    saved = time.monotonic()
    ready = int(done.sum())
    bar = tqdm(total=ready + len(todo), initial=ready, unit=" points", disable=quiet, leave=False)
    try:
        with bar, repeatable(evaluate.device):
            for part, values in _evaluated(evaluate, points, packs, workers):
                found[part], done[part] = values, True
                bar.update(len(part))
                if file is not None and time.monotonic() - saved > SAVE_EVERY:
                    _save(file, key, points, found, done)
                    saved = time.monotonic()
    finally:
        if file is not None and packs:
            _save(file, key, points, found, done)
    return found


def surface(
    evaluate: Evaluator,
    x: np.ndarray,
    y: np.ndarray,
    file: str | Path | None = None,
    error: float = 0.0,
    **options: Any,
) -> Surface:
    """The losses on the grid of x and y, each equally spaced; options as in `losses`.

    error: 0 computes every point; else what interpolation gives to within this share of a loss is not
    computed (`refinement.refined`).
    """
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)  # rows of y, columns of x

    def compute(wanted: np.ndarray) -> np.ndarray:
        return losses(evaluate, points, file, wanted=wanted.ravel(), **options).reshape(wanted.shape)

    everywhere = np.ones((len(y), len(x)), dtype=bool)
    if error == 0:
        return Surface(x, y, compute(everywhere), everywhere)
    return Surface(x, y, *refined(compute, len(y), len(x), error))


def _evaluated(
    evaluate: Evaluator, points: np.ndarray, packs: Sequence[np.ndarray], workers: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(indices, losses) of each pack as it comes."""
    # one network after another seeds the global generators, which threads would share
    count = 1 if evaluate.not_stacked else min(worker_count(evaluate.device, workers), len(packs))
    if count <= 1:
        yield from ((part, evaluate(points[part])) for part in packs)
        return
    # threads, not processes: operations release the interpreter, and nothing is loaded twice
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(evaluate, points[part]): part for part in packs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def kept(file: str | Path) -> dict[str, np.ndarray] | None:
    """key, points (P, 2), loss (P,) and done (P,) of an earlier computation; None where no file holds them.

    It is only a cache: what is damaged, or was written by something else, is computed again.
    """
    try:
        if not Path(file).is_file():
            return None
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as found:
            if sum(member.file_size for member in found.zip.infolist()) > os.path.getsize(file):
                return None  # ours are not packed, so that none can swell
            arrays = {name: found[name] for name in ("key", "points", "loss", "done")}
    except NO_ARRAYS:
        return None
    count = len(arrays["points"]) if arrays["points"].ndim == 2 else -1
    if {arrays["loss"].shape, arrays["done"].shape} != {(count,)}:
        return None
    return arrays if (arrays["loss"].dtype, arrays["done"].dtype) == (float, bool) else None


def _resume(file: str | Path | None, key: str, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = None if file is None else kept(file)
    if found is not None and str(found["key"]) == key and np.array_equal(found["points"], points):
        return found["loss"].copy(), found["done"].copy()
    return np.full(len(points), np.nan), np.zeros(len(points), dtype=bool)


def _save(file: str | Path, key: str, points: np.ndarray, loss: np.ndarray, done: np.ndarray) -> None:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, open(draft, "wb") as f:
        np.savez(f, key=np.array(key), points=points, loss=loss, done=done)
