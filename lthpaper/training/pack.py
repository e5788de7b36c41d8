"""A pack in training: its state in one flat vector, an optimizer step, an evaluation."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lthpaper.data import DataSet
from lthpaper.data.augment import derived_seed, mixing
from lthpaper.errors import InputError
from lthpaper.runs.masks import Mask
from lthpaper.runs.recipe import learning_rate
from lthpaper.runs.run import Run
from lthpaper.training.allocator import keep_freed_memory
from lthpaper.training.batches import feed
from lthpaper.training.cuda_graphs import Recorded
from lthpaper.training.forms import Form, forward_of, usual_form
from lthpaper.training.growth import Growth
from lthpaper.training.optimizers import Layout, Optimizer, undecayed
from lthpaper.training.process_group import ALONE, Alone
from lthpaper.training.result import Start, Weights
from lthpaper.training.stacking import draws, stack

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of the weights


class Pack:
    """K runs trained together: state, one epoch of training, evaluation.

    It stands at `epoch` epochs and `step` steps; `loss` sums the losses of this epoch's images, (K,).
    """

    def __init__(
        self,
        runs: Sequence[Run],
        starts: Sequence[Start],
        data: DataSet,
        device: torch.device,
        form: Form | None = None,  # None: the usual one of this device
        team: Alone = ALONE,
    ):
        self.runs, self.device, self.team = list(runs), device, team
        self.recipe, self.epoch, self.step = runs[0].recipe, runs[0].first_epoch, 0
        self.dtype = DTYPES[self.recipe.precision]
        self.loss = torch.zeros(len(runs), dtype=torch.float64, device=device)
        part = None if team is ALONE else partial(_share, team, self.recipe.micro_batch)
        self.form = form or usual_form(device)
        self.feed = feed(runs, data, device, self.dtype, part, self.form.compiled)
        self.forward, network, self.not_stacked = forward_of(runs[0].task, self.form)
        self._lay_out(network, starts)
        # No reference to a method of its own is kept: a pack's memory must go with the last name of it.
        self._recorded = Recorded(self._mutable()) if self.form.graphed and self._recordable() else None

    def _lay_out(self, network: torch.nn.Module, starts: Sequence[Start]) -> None:
        """All parameters of the pack in one flat vector, so that the optimizer is a handful of calls."""
        stacked = stack([s.weights for s in starts])
        names = [name for name, p in network.named_parameters() if p.requires_grad]
        self._buffers = [name for name, _ in network.named_buffers()]
        layout = Layout({name: stacked[name].shape for name in names})
        self.flat = torch.empty(layout.total, dtype=self.dtype, device=self.device)
        self.optimizer = Optimizer(self.recipe, layout, self.flat, undecayed(network))
        self.state: dict[str, Tensor] = {}
        gradients, pruned = layout.views(self.optimizer.gradient), layout.views(self.optimizer.pruned)
        for name, weights in layout.views(self.flat).items():
            weights.copy_(stacked[name])
            for i, s in enumerate(starts):
                if s.mask is not None and name in s.mask:
                    pruned[name][i] = ~s.mask[name].to(self.device)
            leaf = weights.detach().requires_grad_()  # shares the flat vector's memory
            leaf.grad = gradients[name]
            self.state[name] = leaf
        for i, s in enumerate(starts):
            self.optimizer.begin(i, s.velocity, s.square)
        self.masks = [s.mask for s in starts]
        self.optimizer.has_masks = any(mask is not None for mask in self.masks)
        topology = self.runs[0].topology  # one for all runs of a pack
        self.growth = Growth(topology, self.runs, [mask or {} for mask in self.masks]) if topology else None
        for name in (n for n in stacked if n not in self.state):  # buffers, and what the network has frozen
            value = stacked[name].to(self.device)
            self.state[name] = value.to(self.dtype) if value.is_floating_point() else value

    def train_epoch(self, before_step: Callable[[], None] = lambda: None) -> Tensor:
        """The rest of an epoch; returns the mean loss over all its images, (K,).

        before_step is called before every step, when the pack is whole: it may copy it, or raise.
        """
        batches = self.feed.batches(self.epoch, self.step)
        for step in range(self.step, self.feed.steps):
            before_step()
            self.loss += self.train_step(*next(batches)).double() * self.feed.batch_length(step)
            self.step = step + 1
        mean = self.loss / self.feed.images
        self.epoch, self.step, self.loss = self.epoch + 1, 0, torch.zeros_like(self.loss)
        return mean

    def train_step(self, x: Tensor, labels: Tensor) -> Tensor:
        """One optimizer step on images (K, B, C, H, W), in a team on this process's part of them.

        It takes the learning rates of the pack's `epoch` and `step`, which stay as they are. Returns the mean
        losses of the whole batch before it, (K,).
        """
        share = self._prepare()
        whole = self.feed.batch_length(self.step)
        if not share and self.team is ALONE and whole <= (self.recipe.micro_batch or whole):
            return (
                self._recorded(self._plain_step, x, labels) if self._recorded else self._plain_step(x, labels)
            )
        self.optimizer.gradient.zero_()
        losses = self._in_micro_batches(x, labels, whole)
        if self.growth is not None and share:
            self.growth.change(self.optimizer, share, self._number)
        else:
            self.optimizer.step()
        return losses

    @property
    def _number(self) -> int:
        """How many steps of the training are done."""
        return (self.epoch - self.runs[0].first_epoch) * self.feed.steps + self.step

    def _prepare(self) -> float:
        """Tell the optimizer every run's learning rate at this step, and which of its updates it is. Returns
        the share of the masks that changes in place of an update, 0 at an ordinary step."""
        rates = [learning_rate(run.recipe, self.epoch, self.step, self.feed.steps) for run in self.runs]
        changes, share = 0, 0.0
        if self.growth is not None:
            steps = self.runs[0].cost * self.feed.steps
            changes = self.growth.topology.changes_before(self._number, steps)
            share = self.growth.topology.share(self._number, steps)
        self.optimizer.prepare(rates, self._number - changes + 1)
        return share

    def _plain_step(self, x: Tensor, labels: Tensor) -> Tensor:
        """A step on a whole batch."""
        self.optimizer.gradient.zero_()
        losses = self._accumulate(x, labels, labels.shape[1], 0)
        self.optimizer.step()
        return losses

    def _recordable(self) -> bool:
        """Whether a step is the same operations every time: nothing in it is drawn on the way."""
        return not draws(self.forward) and not self.recipe.mixup

    def _mutable(self) -> list[Tensor]:
        """All that a step changes."""
        return [*self.optimizer.changed(), *(t for t in self.state.values() if not t.requires_grad)]

    def _in_micro_batches(self, x: Tensor, labels: Tensor, whole: int) -> Tensor:
        """A step in parts: each part's batch-norm begins from the same running statistics, and what these
        become is the mean over all parts, in whatever order and process they are computed."""
        buffers = [self.state[name] for name in self._buffers]
        old = [value.clone() for value in buffers]
        sizes = [len(self.runs), *(value.numel() for value in buffers)]
        sums = torch.zeros(sum(sizes), dtype=torch.float64, device=self.device)  # losses, then the buffers
        parts, done = _parts(whole, self.recipe.micro_batch), 0
        for i in self.team.share(len(parts)):
            for value, before in zip(buffers, old, strict=True):
                value.copy_(before)
            piece = slice(done, done + parts[i].stop - parts[i].start)
            losses = self._accumulate(x[:, piece], labels[:, piece], whole, i)
            sums += torch.cat([losses.double(), *(value.flatten().double() for value in buffers)])
            done = piece.stop
        self.team.sum(self.optimizer.gradient, sums)
        losses, *rest = sums.split(sizes)
        for value, total in zip(buffers, rest, strict=True):
            value.copy_(total.view_as(value) / len(parts))
        return losses

    def _accumulate(self, x: Tensor, labels: Tensor, whole: int, part: int) -> Tensor:
        """Add the gradient of a part of a batch of `whole` images; returns its share of the losses, (K,)."""
        names = (self.epoch, self.step, *([part] if part else []))
        seeds = [derived_seed("forward", run.seed, *names) for run in self.runs]
        mixed = self.recipe.mixup > 0
        if mixed:
            x, share, others = self._mix(x, labels, names)
        logits = self._logits(x, training=True, seeds=seeds)
        losses = self._losses(logits, labels)
        if mixed:
            losses = share * losses + (1 - share) * self._losses(logits, others)
        if labels.shape[1] < whole:
            losses = losses * (labels.shape[1] / whole)
        losses.sum().backward()
        return losses.detach()

    def _mix(self, x: Tensor, labels: Tensor, names: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """x and each image's partner mixed, λ (K,), the partners' labels (K, B)."""
        seeds = [derived_seed("mixup", run.seed, *names) for run in self.runs]
        drawn = [mixing(seed, self.recipe.mixup, labels.shape[1]) for seed in seeds]
        share = torch.tensor([value for value, _ in drawn], dtype=self.dtype).to(self.device)
        partner = torch.stack([order for _, order in drawn]).to(self.device)  # (K, B)
        others = torch.stack([images[order] for images, order in zip(x, partner, strict=True)])
        scale = share[:, None, None, None, None]
        return scale * x + (1 - scale) * others, share, labels.gather(1, partner)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of each network, (K,), from logits (K, B, classes)."""
        each = F.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            reduction="none",
            label_smoothing=self.recipe.label_smoothing,
        )
        return each.view(labels.shape).mean(1)

    def _logits(self, x: Tensor, training: bool, seeds: Sequence[int] | None = None) -> Tensor:
        """x (K, B, C, H, W) -> (K, B, classes), in the weights' precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.forward(self.state, x, training, seeds).to(self.dtype)

    @torch.no_grad()
    def evaluate(self, part: str = "test") -> tuple[Tensor, Tensor]:
        """Loss (K,) and accuracy in percent (K,) on the test images, or on those of "validation"; accuracy is
        NaN where a logit is not finite.

        In a team each process takes its share of the batches.
        """
        k, n = len(self.runs), self.feed.tested(part)
        loss, correct, wild = torch.zeros(3, k, dtype=torch.float64, device=self.device)
        for x, labels in self.feed.test_batches(self.team.rank, self.team.size, part):
            logits = self._logits(x.expand(k, *x.shape), training=False).double()  # (K, B, classes)
            repeated = labels.expand(k, -1)
            losses = F.cross_entropy(logits.flatten(0, 1), repeated.flatten(), reduction="none")
            loss += losses.view(k, -1).sum(1)
            correct += (logits.argmax(2) == repeated).sum(1)
            wild += ~logits.isfinite().all(2).all(1)
        self.team.sum(loss, correct, wild)
        return loss / n, (100 * correct / n).where(wild == 0, math.nan)

    def weights(self, i: int) -> Weights:
        """A copy of run i's parameters and buffers, on the CPU."""
        return {name: value[i].detach().cpu().clone() for name, value in self.state.items()}

    def mask(self, i: int) -> Mask | None:
        """Run i's mask, as it is now."""
        return self.masks[i] if self.growth is None else self.growth.mask(self.optimizer, i)


def _parts(whole: int, micro_batch: int) -> list[slice]:
    """The micro-batches of a batch of `whole` images."""
    size = micro_batch or whole
    return [slice(first, min(first + size, whole)) for first in range(0, whole, size)]


def _share(team: Alone, micro_batch: int, whole: int) -> Tensor:
    """Positions in a batch that this process of the team trains on."""
    parts = _parts(whole, micro_batch)
    mine = [torch.arange(parts[i].start, parts[i].stop) for i in team.share(len(parts))]
    return torch.cat(mine) if mine else torch.arange(0)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Arithmetic that is the same every time, while packs train; what was set before comes back.

    On a CPU one thread per pack: sums are then always split alike, and one worker per core is faster. On a
    GPU float32 is float32 (not TF32), and cuDNN takes only algorithms that give the same bits twice. Raises
    InputError there if torch cannot say what was set.
    """
    if device.type == "cpu":
        keep_freed_memory()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
        return
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        flags = (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, products.allow_tf32)
    except RuntimeError as error:
        raise InputError(
            "TF32 was set by fp32_precision, and torch does not mix that with allow_tf32, by which it is "
            "switched off here and on again. Set it by allow_tf32 alone, or not at all: networks train in "
            "float32 whatever is set."
        ) from error
    cudnn.allow_tf32, products.allow_tf32 = False, False
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, products.allow_tf32 = flags
