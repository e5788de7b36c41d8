"""The engine: `train` turns runs into results, packed. The only place with a training loop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lthpaper import networks
from lthpaper.allocator import keep_freed_memory
from lthpaper.augment import crop_flip, derived_seed, draws, normalised, padded
from lthpaper.data import DataSet
from lthpaper.errors import InputError, require
from lthpaper.masks import Mask, dense_mask, prunable
from lthpaper.packing import OneByOne, Program, program, stack
from lthpaper.recipe import learning_rate
from lthpaper.runs import Fresh, Run, Task

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of the weights
EVALUATION_BATCH = 500

Weights = dict[str, Tensor]  # parameters and buffers by name


@dataclass(frozen=True)
class Trained:
    """What a training leaves. Losses are means over images, accuracies percent on the test images.

    curves: per epoch, "train_loss", "test_loss", "test_accuracy" (NaN once logits are not finite).
    snapshots: epoch -> weights after that many epochs, as asked for.
    """

    run: Run
    weights: Weights  # θT
    mask: Mask | None
    curves: dict[str, list[float]]
    snapshots: dict[int, Weights]
    seconds: float  # of the pack, shared by its runs
    pack: int  # how many runs shared it
    packed: str  # "" or why the network was not stacked

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch, percent; NaN if the run diverged."""
        return self.curves["test_accuracy"][-1]


@dataclass(frozen=True)
class Start:
    """Where a training begins: weights, zero where pruned, and the mask."""

    weights: Weights
    mask: Mask | None


Load = Callable[[Run, int | None], tuple[Weights, Mask | None]]  # weights of a run after an epoch (None: T)


def initial_weights(run: Run) -> Weights:
    """θ0 (or θ0′) of a run with a fresh start: the same bits for the same seed and draw."""
    assert isinstance(run.init, Fresh)
    seed = derived_seed("init", run.init.seed, run.init.draw)
    return _tensors(networks.build_seeded(seed, **run.task.shape))


def start(run: Run, load: Load) -> Start:
    """θ ⊙ m from which a run trains; `load` gives its ancestors' weights and masks."""
    weights = initial_weights(run) if isinstance(run.init, Fresh) else load(run.init.to, run.init.epoch)[0]
    if run.mask is None:
        return Start(weights, None)
    trained, mask = load(run.mask.after, None)
    names = prunable(networks.skeleton(**run.task.shape), run.task.prunable)
    mask = run.mask.prune(trained, mask or dense_mask(trained, names))
    return Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask)


def shape_key(run: Run) -> tuple:
    """Runs with equal keys can share a pack: all but learning rate, start, mask and seed are equal."""
    return (run.task, run.recipe.with_(lr=1.0, schedule="step", milestones=()), run.first_epoch)


def check_trainable(run: Run) -> None:
    """Raise InputError if a run begins where its recipe ends: it would have no accuracy."""
    require(
        run.cost >= 1,
        f"{run} begins after epoch {run.first_epoch} of a recipe of {run.recipe.epochs}: nothing is left to "
        "train. Rewind to an earlier epoch, or restart the schedule.",
    )


def pack_limits(image_size: int, device: torch.device) -> tuple[int, int]:
    """(smallest, largest) pack for images of this size.

    On a CPU small images gain from packing and large ones lose (docs/performance.md); and a
    convolution of one network takes another path than one of several, with other rounding. So that a
    run's bits do not depend on its pack, small images always train in packs of two or more (a lone run
    beside a copy of itself), large ones always alone.
    """
    if device.type != "cpu":
        return 1, 64
    return (2, 8) if image_size <= 16 else (1, 1)


@lru_cache(maxsize=16)
def _pack_form(task: Task, factory: Callable, channels_last: bool) -> tuple[Program | OneByOne, str]:
    """The task's network as a pack, and why it is the slow form ("" if it is not).

    Decided on one seeded draw and seeded noise, never on the weights of a pack's runs, so that the form
    does not depend on who shares the pack. factory: so that a redefined network is looked at again.
    """
    shape = task.shape
    network = networks.build_seeded(0, **shape)
    example = torch.randn(
        4, shape["in_channels"], shape["size"], shape["size"], generator=torch.Generator().manual_seed(0)
    )
    try:
        form = program(network, example, channels_last)
        logits = form[0](stack([_tensors(network)]), example[None], False)[0]
    except Exception as error:  # whatever the network's own code raises
        raise InputError(
            f"Network {task.network!r} fails on a batch {tuple(example.shape)} of the images of {task.data}: "
            f"{type(error).__name__}: {error}."
        ) from error
    require(
        tuple(logits.shape) == (4, shape["num_classes"]),
        f"Network {task.network!r} gives {tuple(logits.shape)} on four images of {task.data}; "
        f"expected logits {(4, shape['num_classes'])}.",
    )
    return form


def why_not_stacked(task: Task) -> str:
    """Why networks of this task train one by one and not as packs; "" if they are stacked."""
    return _pack_form(task, networks.factory(task.network), True)[1]


def _tensors(network: torch.nn.Module) -> Weights:
    return {n: t.detach() for n, t in (*network.named_parameters(), *network.named_buffers())}


class Pack:
    """K runs trained together: state, one epoch of training, evaluation."""

    def __init__(
        self,
        runs: Sequence[Run],
        starts: Sequence[Start],
        data: DataSet,
        device: torch.device,
        channels_last: bool | None = None,  # None: the faster layout on this device
    ):
        self.runs, self.data, self.device = list(runs), data, device
        self.recipe, self.epoch = runs[0].recipe, runs[0].first_epoch
        self.dtype = DTYPES[self.recipe.precision]
        card, images = data.card, data.images
        self.train_images = padded(images.train, card.pad).to(device)
        self.train_labels = images.train_labels.to(device)
        self.test_images, self.test_labels = images.test.to(device), images.test_labels.to(device)
        self.mean = torch.tensor(card.mean, device=device, dtype=torch.float64)
        self.std = torch.tensor(card.std, device=device, dtype=torch.float64)

        task = self.runs[0].task
        layout = device.type == "cpu" if channels_last is None else channels_last
        self.forward, self.not_stacked = _pack_form(task, networks.factory(task.network), layout)
        self._lay_out(self.forward.network, starts)

    def _lay_out(self, network: torch.nn.Module, starts: Sequence[Start]) -> None:
        """All parameters of the pack in one flat vector, so that the optimizer is a handful of calls."""
        stacked = stack([s.weights for s in starts])
        names = [name for name, p in network.named_parameters() if p.requires_grad]
        sizes = [stacked[name].numel() for name in names]
        total, k = sum(sizes), len(starts)
        self.flat = torch.empty(total, dtype=self.dtype, device=self.device)
        self.gradient = torch.zeros_like(self.flat)
        self.velocity = torch.zeros_like(self.flat)
        self.rates = torch.empty_like(self.flat)  # learning rate of every single weight
        self.pruned = torch.zeros(total, dtype=torch.bool, device=self.device)
        self.state: dict[str, Tensor] = {}
        self._rate_views = []
        flats = (self.flat, self.gradient, self.pruned, self.rates)
        for name, *pieces in zip(names, *(f.split(sizes) for f in flats), strict=True):
            shape = stacked[name].shape
            weights, gradient, pruned, rates = (piece.view(shape) for piece in pieces)
            weights.copy_(stacked[name])
            for i, s in enumerate(starts):
                if s.mask is not None and name in s.mask:
                    pruned[i] = ~s.mask[name].to(self.device)
            leaf = weights.detach().requires_grad_()  # shares the flat vector's memory
            leaf.grad = gradient
            self.state[name] = leaf
            self._rate_views.append(rates.view(k, -1))
        self.has_masks = any(s.mask is not None for s in starts)
        for name in (n for n in stacked if n not in self.state):  # buffers, and what the network has frozen
            value = stacked[name].to(self.device)
            self.state[name] = value.to(self.dtype) if value.is_floating_point() else value

    def train_epoch(self) -> Tensor:
        """One epoch over the training images; returns the mean training loss, (K,)."""
        n, batch = self.data.images.train.shape[0], self.recipe.batch_size
        card = self.data.card
        drawn = [draws(run.seed, self.epoch, n, card.pad, card.flip) for run in self.runs]
        order, shift, flip = (torch.stack(part).to(self.device) for part in zip(*drawn, strict=True))
        steps = math.ceil(n / batch)
        total = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        for step in range(steps):
            self._set_rates(step, steps)
            part = slice(step * batch, (step + 1) * batch)
            seeds = [derived_seed("forward", run.seed, self.epoch, step) for run in self.runs]
            losses = self._step(order[:, part], shift[:, part], flip[:, part], seeds)
            total += losses.double() * len(order[0, part])
        self.epoch += 1
        return total / n

    def _set_rates(self, step: int, steps: int) -> None:
        rates = [learning_rate(run.recipe, self.epoch, step, steps) for run in self.runs]
        if rates != getattr(self, "_rates_now", None):
            self._rates_now = rates
            column = torch.tensor(rates, dtype=self.dtype).to(self.device)[:, None]
            for view in self._rate_views:
                view.copy_(column.expand_as(view))

    def _step(self, index: Tensor, shift: Tensor, flip: Tensor, seeds: Sequence[int]) -> Tensor:
        """One optimizer step; index (K, B). Returns the losses before it, (K,)."""
        pixels = crop_flip(self.train_images, index, shift, flip, self.data.card.size)
        logits = self._logits(normalised(pixels, self.mean, self.std, self.dtype), training=True, seeds=seeds)
        labels = self.train_labels[index]
        smoothing = self.recipe.label_smoothing
        flat = (logits.flatten(0, 1), labels.flatten())
        losses = (
            F.cross_entropy(*flat, reduction="none", label_smoothing=smoothing).view(labels.shape).mean(1)
        )
        self.gradient.zero_()
        losses.sum().backward()
        self._sgd()
        return losses.detach()

    def _logits(self, x: Tensor, training: bool, seeds: Sequence[int] | None = None) -> Tensor:
        """x (K, B, C, H, W) -> (K, B, classes), in the weights' precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.forward(self.state, x, training, seeds).to(self.dtype)

    @torch.no_grad()
    def _sgd(self) -> None:
        """torch.optim.SGD's update, with nothing ever reaching a pruned weight.

        The gradient is overwritten, not multiplied: 0·NaN is NaN, and a diverged run keeps its mask.
        """
        if self.has_masks:
            self.gradient.masked_fill_(self.pruned, 0)
        self.gradient.add_(self.flat, alpha=self.recipe.weight_decay)
        self.velocity.mul_(self.recipe.momentum).add_(self.gradient)
        self.flat.addcmul_(self.rates, self.velocity, value=-1)
        if self.has_masks:  # decay and momentum of NaN neighbours cannot reach here, but 0·inf could
            self.flat.masked_fill_(self.pruned, 0)

    @torch.no_grad()
    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Test loss (K,) and accuracy in percent (K,); accuracy is NaN where a logit is not finite."""
        k, n = len(self.runs), len(self.test_labels)
        loss = torch.zeros(k, dtype=torch.float64, device=self.device)
        correct, finite = torch.zeros_like(loss), torch.ones_like(loss, dtype=torch.bool)
        for first in range(0, n, EVALUATION_BATCH):
            labels = self.test_labels[first : first + EVALUATION_BATCH]
            pixels = self.test_images[first : first + EVALUATION_BATCH].permute(0, 3, 1, 2)
            x = normalised(pixels, self.mean, self.std, self.dtype)
            logits = self._logits(x.expand(k, *x.shape), training=False).double()  # (K, B, classes)
            repeated = labels.expand(k, -1)
            losses = F.cross_entropy(logits.flatten(0, 1), repeated.flatten(), reduction="none")
            loss += losses.view(k, -1).sum(1)
            correct += (logits.argmax(2) == repeated).sum(1)
            finite &= logits.isfinite().all(2).all(1)
        return loss / n, (100 * correct / n).where(finite, math.nan)

    def weights(self, i: int) -> Weights:
        """A copy of run i's parameters and buffers, on the CPU."""
        return {name: value[i].detach().cpu().clone() for name, value in self.state.items()}


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Arithmetic that is the same every time, while packs train; what was set before comes back.

    On a CPU one thread a pack: sums are then always split alike, and a worker a core is faster. On a GPU
    float32 is float32 (not TF32), and cuDNN takes only algorithms that give the same bits twice.
    """
    threads = torch.get_num_threads()
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, products.allow_tf32)
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(1)
    else:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, products.allow_tf32 = (
            False,
            True,
            False,
            False,
        )
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, products.allow_tf32 = flags


@dataclass
class Progress:
    """What `train` reports after every epoch of a pack."""

    runs: Sequence[Run]
    epoch: int  # epochs done
    curves: Mapping[Run, Mapping[str, list[float]]] = field(default_factory=dict)


def train(
    runs: Sequence[Run],
    data: DataSet,
    load: Load | None = None,
    device: torch.device | str = "cpu",
    keep: Mapping[Run, frozenset[int]] | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Trained]:
    """Train runs of one shape, in packs, and yield each result when its pack is done.

    keep: epochs after which a run's weights are kept as snapshots (0 is the start); asking never
    changes a result. Raises ValueError if the runs cannot share a pack, InputError if one has nothing left
    to train or its network fails on the images.
    """
    device, runs = torch.device(device), list(dict.fromkeys(runs))
    for run in runs:
        check_trainable(run)
    for task in {run.task for run in runs}:
        task.verify()
    if len({shape_key(run) for run in runs}) > 1:
        raise ValueError("these runs differ in more than learning rate, start, mask and seed")
    smallest, largest = pack_limits(data.card.size, device)
    for first in range(0, len(runs), largest):
        share = runs[first : first + largest]
        starts = [start(run, load) for run in share]
        copies = max(0, smallest - len(share))
        with repeatable(device):
            pack = Pack(share + share[:1] * copies, starts + starts[:1] * copies, data, device)
            yield from _train_pack(pack, share, starts, keep or {}, on_epoch)


def _train_pack(
    pack: Pack,
    runs: list[Run],
    starts: list[Start],
    keep: Mapping[Run, frozenset[int]],
    on_epoch: Callable[[Progress], None],
) -> Iterator[Trained]:
    began = time.perf_counter()
    curves = {run: {"train_loss": [], "test_loss": [], "test_accuracy": []} for run in runs}
    snapshots: dict[Run, dict[int, Weights]] = {run: {} for run in runs}

    def snap() -> None:
        for i, run in enumerate(runs):
            if pack.epoch in keep.get(run, ()):
                snapshots[run][pack.epoch] = pack.weights(i)

    snap()
    while pack.epoch < pack.recipe.epochs:
        train_loss = pack.train_epoch()
        test_loss, accuracy = pack.evaluate()
        for i, run in enumerate(runs):
            for name, values in zip(curves[run], (train_loss, test_loss, accuracy), strict=True):
                curves[run][name].append(float(values[i]))
        snap()
        on_epoch(Progress(runs, pack.epoch, curves))
    seconds = time.perf_counter() - began
    for i, (run, begin) in enumerate(zip(runs, starts, strict=True)):
        yield Trained(
            run,
            pack.weights(i),
            begin.mask,
            curves[run],
            snapshots[run],
            seconds,
            len(runs),
            pack.not_stacked,
        )
