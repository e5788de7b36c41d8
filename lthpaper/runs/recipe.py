"""How a network is trained: everything that changes the result and is not the network or the data."""

import math
from dataclasses import dataclass, replace

from lthpaper.errors import as_python, require, require_fields, require_whole
from lthpaper.runs.digest import added, coerce_floats

CURVE_POINTS = 20  # tests of a network on the way, unless told otherwise; never in a digest
SCHEDULES = ("step", "cosine")
PRECISIONS = ("fp32", "bf16", "fp64")
OPTIMIZERS = ("sgd", "nesterov", "adamw")
NUMBERS = (  # name, least (None: above 0), limit, in words
    ("lr", None, math.inf, "a number above 0"),
    ("momentum", 0, 1, "in [0, 1)"),
    ("weight_decay", 0, math.inf, "a number from 0"),
    ("gamma", None, math.inf, "a number above 0"),
    ("warmup_epochs", 0, math.inf, "between 0 and epochs"),
    ("label_smoothing", 0, 1, "in [0, 1)"),
    ("mixup", 0, math.inf, "a number from 0"),
    ("clip", 0, math.inf, "a number from 0 (0: no clipping)"),
)
CHOICES = (("schedule", SCHEDULES), ("precision", PRECISIONS), ("optimizer", OPTIMIZERS))


@dataclass(frozen=True)
class Recipe:
    """An optimizer with a learning-rate schedule (§3.1; batch, momentum and decay from the authors' code).

    lr: initial learning rate. milestones: epochs after which lr is multiplied by gamma (schedule
    "step"; "cosine" anneals to zero by optimizer step and ignores them). warmup_epochs: linear
    warm-up by optimizer step. precision: "fp32", "bf16" (convolutions and products in bfloat16, the
    weights in float32), "fp64" (for checks). mixup: α of the Beta(α, α) that pairs of images are mixed
    by (Zhang et al. 2018; 0.2 in the authors' ImageNet recipe; 0: none). micro_batch: images that one
    forward pass, and so its batch-norm, sees; a step adds the gradients of batch_size / micro_batch such
    passes (0, or batch_size, which becomes 0: the whole batch at once).

    optimizer: "sgd" with momentum (the paper's), "nesterov", or "adamw" (Loshchilov & Hutter 2019), of which
    momentum is β1, while β2 and ε are torch's 0.999 and 1e-8. clip: the largest L2 norm that a network's
    gradient may have at a step; a larger one is scaled down to it (0: none). decay_norms: False leaves the
    parameters of norms, and all biases, out of the weight decay. Raises InputError on a value out of range.
    """

    epochs: int = 160
    lr: float = 0.1
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    milestones: tuple[int, ...] = (80, 120)
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "fp32"
    mixup: float = added(0.0, absent=0.0)
    micro_batch: int = added(0, absent=0)
    optimizer: str = added("sgd", absent="sgd")
    clip: float = added(0.0, absent=0.0)
    decay_norms: bool = added(True, absent=True)

    def __post_init__(self):
        coerce_floats(self)
        for name in ("epochs", "batch_size"):
            require_whole(name, getattr(self, name), 1)
        for name, least, limit, allowed in NUMBERS:
            value = getattr(self, name)
            above = isinstance(value, float) and (value > 0 if least is None else value >= least)
            require(
                above and value < limit,
                f"{'The learning rate' if name == 'lr' else name} is {value!r}; it must be {allowed}"
                f"{as_python(value, 'float')}.",
            )
        for name, choices in CHOICES:
            value = getattr(self, name)
            require(value in choices, f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
        require(
            self.optimizer != "nesterov" or self.momentum > 0,
            f"momentum is {self.momentum}; with the optimizer nesterov it must be above 0.",
        )
        require(
            type(self.decay_norms) is bool, f"decay_norms is {self.decay_norms!r}; it must be True or False."
        )
        rising = isinstance(self.milestones, tuple | list) and all(
            type(m) is int and m > before
            for before, m in zip((0, *self.milestones), self.milestones, strict=False)
        )
        require(rising, f"milestones are {self.milestones!r}; they must be rising epochs, at least 1.")
        object.__setattr__(self, "milestones", tuple(self.milestones))
        require(
            self.warmup_epochs <= self.epochs,
            f"warmup_epochs is {self.warmup_epochs}; it must be between 0 and epochs ({self.epochs}).",
        )
        micro = self.micro_batch
        require(
            type(micro) is int and (micro == 0 or (micro > 0 and self.batch_size % micro == 0)),
            f"micro_batch is {micro!r}; it must be 0 (the whole batch) or a whole number that divides "
            f"batch_size ({self.batch_size}).",
        )
        if micro == self.batch_size:  # the same training, so it must be the same digest
            object.__setattr__(self, "micro_batch", 0)

    def with_(self, **changes) -> "Recipe":
        """The same recipe with some fields changed. Raises InputError for an unknown field or a bad value."""
        require_fields("A recipe", changes, tuple(self.__dataclass_fields__))
        return replace(self, **changes)


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """Learning rate of one optimizer step; epoch, step count from 0, steps in an epoch."""
    done = epoch + step / steps  # epochs of training before this step
    if done < recipe.warmup_epochs:
        return recipe.lr * (done + 1 / steps) / (recipe.warmup_epochs + 1 / steps)
    if recipe.schedule == "cosine":
        share = (done - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.lr * recipe.gamma ** sum(epoch >= m for m in recipe.milestones)


def is_tested(epoch: int, epochs: int, points: int = CURVE_POINTS) -> bool:
    """Whether a network is tested after `epoch` of `epochs` epochs, where at most `points` tests are wanted:
    at equal distances, and always after the last."""
    return epoch == epochs or epoch % math.ceil(epochs / points) == 0


def epochs_said(count: int) -> str:
    """ "1 epoch", "2 epochs"."""
    return f"{count} epoch" if count == 1 else f"{count} epochs"
