"""Which pack form each operation of a traced network has, and whether its result is images."""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from lthpaper.training import stacked_tokens as tokens
from lthpaper.training.stacked_layers import (
    ELEMENTWISE,
    ELEMENTWISE_METHODS,
    IMAGES,
    IMAGES_ONLY,
    POOL_FUNCTIONS,
    Context,
    NotStackable,
    image,
    stacked,
)

Form = Callable[..., Any]  # of the context and the node's arguments
PLANE = {(2, 3), (-2, -1), (-1, -2), (3, 2)}  # the axes of an image's height and width


def form_of(node: fx.Node, modules: Mapping[str, nn.Module], images: set[fx.Node]) -> tuple[Form, bool]:
    """A node's form, and whether it gives images (B, K·C, H, W) rather than (K, *shape).

    images: the nodes so far that do. Raises NotStackable for an operation that has no form.
    """
    if node.op == "placeholder":
        return (lambda c, *default: c.x), True
    if node.op == "output":
        return _given(lambda c, out: out, node, images), False
    if node.op == "get_attr":
        return _parameter(str(node.target)), False
    if node.op == "call_module":
        return _module(node, modules[str(node.target)], images)
    return _on_images(node, images) or (_given(_on_tokens(node), node, images), False)


def _parameter(name: str) -> Form:
    def read(c: Context) -> Tensor:
        if name not in c.state:
            raise NotStackable(f"its tensor {name} is neither a parameter nor a buffer")
        return c.state[name]

    return read


def _module(node: fx.Node, module: nn.Module, images: set[fx.Node]) -> tuple[Form, bool]:
    kind, name = type(module), str(node.target)
    plain_padding = getattr(module, "padding_mode", "zeros") == "zeros"
    cumulative = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.momentum is None
    if kind not in IMAGES | tokens.TOKENS or not plain_padding or cumulative:
        raise NotStackable(f"no pack form of {kind.__name__}")
    on_images = bool(node.args) and node.args[0] in images
    if kind in IMAGES_ONLY and not on_images:
        own = IMAGES_ONLY[kind]
        return (lambda c, x: own(c, module, name, image(c, x))), True
    if kind in IMAGES and on_images:
        own = IMAGES[kind]
        return (lambda c, x: own(c, module, name, x)), True
    form = tokens.TOKENS[kind]
    return _given(lambda c, *args, **how: form(c, module, name, *args, **how), node, images), False


def _on_images(node: fx.Node, images: set[fx.Node]) -> tuple[Form, bool] | None:
    """The form of a function or method that keeps images images; None: it has none."""
    target: Any = node.target
    if not node.all_input_nodes or not all(n in images for n in node.all_input_nodes):
        return None
    if target in ELEMENTWISE | POOL_FUNCTIONS:
        return (lambda c, *args, **how: target(*args, **how)), True
    if node.op == "call_method" and target in ELEMENTWISE_METHODS:
        return (lambda c, x, *args, **how: getattr(x, target)(*args, **how)), True
    if target in (torch.mean, "mean"):
        dim, keepdim = (*node.args[1:], *node.kwargs.values(), False)[:2]
        if isinstance(dim, tuple | list) and tuple(dim) in PLANE and set(node.kwargs) <= {"dim", "keepdim"}:
            return partial(_plane_mean, keepdim=bool(keepdim)), bool(keepdim)
    return None


def _plane_mean(c: Context, x: Tensor, *dim: Any, keepdim: bool, **how: Any) -> Tensor:
    """Mean over height and width."""
    out = x.mean((2, 3), keepdim=keepdim)
    return out if keepdim else out.unflatten(1, (c.k, -1)).transpose(0, 1)


def _on_tokens(node: fx.Node) -> Form:
    """The form of a function or method of tensors (K, *shape)."""
    target: Any = node.target
    name = target if node.op == "call_method" else getattr(target, "__name__", str(target))
    own = node.op == "call_method" or target is getattr(torch, name, None)
    functional = target is getattr(torch.nn.functional, name, None)
    if target in tokens.DRAWING:
        return tokens.DRAWING[target]
    if target is operator.getitem:
        return lambda c, x, index: tokens.item(x, index)
    if target is getattr and node.args[1] == "shape":
        return lambda c, x, what: x.shape[1:]
    if target in tokens.OF_SIZES:
        return lambda c, *args: _of_sizes(target, args)
    if own and name in tokens.SHAPES:
        return lambda c, *args, **how: tokens.SHAPES[name](*args, **how)
    if ((own or functional) and name in tokens.EQUAL_EVERYWHERE) or target in tokens.EQUAL_FUNCTIONS:
        return lambda c, *args, **how: _called(node, *_aligned(args, how))
    if ((own or functional) and name in tokens.ROUNDED) or target in tokens.ROUNDED_FUNCTIONS:
        return lambda c, *args, **how: _alone(node, args, how)
    raise NotStackable(f"no pack form of {name}")


def _of_sizes(target: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    if any(isinstance(a, Tensor) for a in args):
        raise NotStackable(f"no pack form of {target.__name__} of tensors")
    return target(*args)


def _aligned(args: tuple[Any, ...], how: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """`tokens.aligned` over all arguments, those by keyword too."""
    every = tokens.aligned([*args, *how.values()])
    return every[: len(args)], dict(zip(how, every[len(args) :], strict=True))


def _called(node: fx.Node, args: Any, how: Mapping[str, Any]) -> Any:
    target: Any = node.target
    return getattr(args[0], target)(*args[1:], **how) if node.op == "call_method" else target(*args, **how)


def _alone(node: fx.Node, args: tuple[Any, ...], how: Mapping[str, Any]) -> Tensor:
    """A function of one network's tensors, which come first among its arguments."""
    inputs = [a for a in args if isinstance(a, Tensor)]
    rest = args[len(inputs) :]
    if any(isinstance(a, Tensor) for a in (*rest, *how.values())):
        raise NotStackable(f"no pack form of {node.target} of these arguments")
    return tokens.alone(lambda *own: _called(node, [*own, *rest], how), *inputs)


def _given(form: Form, node: fx.Node, images: set[fx.Node]) -> Form:
    """The form with images among its arguments made (K, B, C, H, W)."""
    which = [i for i, a in enumerate(node.args) if isinstance(a, fx.Node) and a in images]
    nested = [n for n in node.all_input_nodes if n in images and n not in node.args]
    if nested:
        raise NotStackable("images in a list")
    if not which:
        return form

    def of_images(c: Context, *args: Any, **how: Any) -> Any:
        return form(c, *(stacked(c.k, a) if i in which else a for i, a in enumerate(args)), **how)

    return of_images
