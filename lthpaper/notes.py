"""What to know about a sanity check before anything of it is trained, a sentence each."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from lthpaper import networks
from lthpaper.data import Images, card, load
from lthpaper.data.files import Files
from lthpaper.errors import InputError
from lthpaper.runs.sanity_check import SanityCheck
from lthpaper.runs.settings import imp_sparsity
from lthpaper.runs.task import Task
from lthpaper.training.forms import gives_probabilities, unreached, why_not_stacked

FEW = 5  # with fewer images a class, accuracies say little
FAR = 0.05  # by so much more of its parameters SDT is another network than the paper means
MANY = 50  # with so many training images a class, a random choice leaves no class out
NAMED = 3  # so many names are said of a long list


def before_training(check: SanityCheck, data_root: str | Path | None = None) -> list[str]:
    """Every note on a check. Raises InputError where the network cannot take the images."""
    images = _images(check.task, data_root)
    of_images = (_of_images(check.task, images), _of_classes(images)) if images else ()
    return [*chain(*(note(check) for note in OF_A_CHECK), *of_images)]


def _trivial(check: SanityCheck) -> Iterator[str]:
    limit = check.thresholds().sparsity
    trivial = [f"{s:.3f}" for k in check.rounds if (s := imp_sparsity(k, check.rate)) <= limit]
    if trivial:
        *others, last = trivial
        which = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        yield f"s = {which} not above {limit:g}: ① fails there, whatever is trained."


def _without_width(check: SanityCheck) -> Iterator[str]:
    if "SDT" not in check.settings:
        yield (
            "The factory takes no `width`, so the small-dense network (SDT) cannot be built: condition ② "
            "stays open. Give the factory an argument `width` that scales its channels."
        )


def _size_of_small_dense(check: SanityCheck) -> Iterator[str]:
    for s, small, wanted in check.small_dense():
        if small.parameters == check.task.parameters:
            yield (
                f"SDT at s = {s:.3f} is as large as the dense network: `width` does not change its size "
                "there, so ② says nothing. Scale the channels by it, or leave it out: ② then stays open."
            )
            continue
        if abs(more := small.parameters / wanted - 1) > FAR:
            many, hard = ("more", "harder") if more > 0 else ("fewer", "easier")
            yield (
                f"SDT at s = {s:.3f} has {100 * abs(more):.0f} % {many} parameters than the subnetwork has "
                f"non-zeros, since `width` moves in coarse steps: ② is {hard} to fulfil there than the paper "
                "means."
            )


def _one_by_one(check: SanityCheck) -> Iterator[str]:
    if why := why_not_stacked(check.task):
        yield f"Networks are trained one by one, not as packs: {why}."


def _probabilities(check: SanityCheck) -> Iterator[str]:
    if gives_probabilities(check.task):
        yield (
            "The outputs are probabilities: each is from 0 to 1, and they sum to 1. The training takes "
            "logits and applies softmax itself; leave the last Softmax out."
        )


def _augmented(check: SanityCheck) -> Iterator[str]:
    about = card(check.task.data)
    if ":" in check.task.data and about.flip and not about.streams:
        shift = f"{about.pad} pixel{'s' * (about.pad != 1)}"
        yield (
            f"Training images are flipped, and shifted by up to {shift}, as the paper's are. If that changes "
            "what they show (digits, text), give a Source whose Card has flip=False and pad=0."
        )


def _frozen(check: SanityCheck) -> Iterator[str]:
    parameters = dict(networks.skeleton(**check.task.shape).named_parameters())
    if frozen := [name for name in check.task.prunable_weights if not parameters[name].requires_grad]:
        yield (
            f"{_first(frozen)} will be pruned without ever having been trained, since requires_grad is "
            "False. To keep such weights, name the others by `prunable`."
        )


def _unreached(check: SanityCheck) -> Iterator[str]:
    if check.recipe.weight_decay and (names := unreached(check.task)):
        yield (
            f"No gradient reaches {_first(names)}: weight decay shrinks them nevertheless, which it does not "
            "in torch's own optimizers. Leave them out of the network, or give them requires_grad_(False)."
        )


def _never_falls(check: SanityCheck) -> Iterator[str]:
    how = check.recipe
    if how.schedule == "step" and how.milestones and how.milestones[0] >= how.epochs:
        yield (
            f"The learning rate never falls: the recipe's first milestone is epoch {how.milestones[0]}, and "
            f"it ends after {how.epochs}. Give earlier ones, such as "
            f"milestones=({how.epochs // 2}, {3 * how.epochs // 4})."
        )


OF_A_CHECK: tuple[Callable[[SanityCheck], Iterator[str]], ...] = (
    _trivial,
    _without_width,
    _size_of_small_dense,
    _one_by_one,
    _probabilities,
    _augmented,
    _frozen,
    _unreached,
    _never_falls,
)


def _images(task: Task, root: str | Path | None) -> Images | Files | None:
    """The images, where they may be too few; None where they are missing, which the plan says."""
    if ":" not in task.data and task.images >= MANY * card(task.data).num_classes:
        return None  # the choice of a published data set's images leaves no class out: they need not be read
    try:
        return load(task.data, root, *task.division).images
    except InputError:
        return None


def _of_images(task: Task, images: Images | Files) -> Iterator[str]:
    """Too few images to learn from, or to choose by."""
    classes = len(images.classes)
    if task.images < FEW * classes:
        yield (
            f"There are fewer training images ({task.images}) than {FEW} for each of the {classes} classes: "
            "accuracies will say little. Train on more."
        )
    if 0 < task.validation_images < FEW * classes:
        yield (
            f"There are fewer validation images ({task.validation_images}) than {FEW} for each of the "
            f"{classes} classes: the learning rates that they choose will say little. Hold more out."
        )


def _of_classes(images: Images | Files) -> Iterator[str]:
    """Classes without an image of their own."""
    classes = len(images.classes)
    parts = (
        ("training", images.train_labels, "cannot be learned"),
        ("test", images.test_labels, "count{} in no accuracy"),
    )
    for part, labels, what in parts:
        counts = labels.bincount(minlength=classes).tolist()
        if none := [name for name, n in zip(images.classes, counts, strict=True) if not n]:
            one = len(none) == 1
            have = "One class has" if one else f"{len(none)} of {classes} classes have"
            yield f"{have} no {part} image and {what.format('s' * one)}: {_first(none)}."


def _first(names: list[str]) -> str:
    """The first NAMED of the names, and whether there are more."""
    return f"{', '.join(names[:NAMED])}{', …' * (len(names) > NAMED)}"
