"""A small vision transformer (Dosovitskiy et al. 2021) for small images.

Two convolutions that overlap make the patches, not one that cuts the image apart: from few images a
transformer hardly learns that neighbours belong together (Xiao et al. 2021, "Early convolutions help
transformers see better"). Tokens are an eighth of the image's side apart, at least 2 pixels: 16 tokens of an
8×8 digit, 64 of an image whose side is 16, 32 or 64. Norms come first, the logits come from the mean of all
tokens, and there is no dropout and no batch-norm.

By the paper's rule (never the first or the last layer) the first convolution and the head are not prunable;
the second convolution and the matrices of every attention and MLP are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lthpaper.networks import register, scaled

DEPTH, HEADS, HEAD, EXPANSION = 4, 4, 16, 2  # HEAD: channels of one


class Attention(nn.Module):
    """Every token looks at all. (B, T, F) -> (B, T, F)."""

    def __init__(self, features: int):
        super().__init__()
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (B, h, T, d)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention, x + MLP, each after a norm. (B, T, F) -> (B, T, F)."""

    def __init__(self, features: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(features), Attention(features)
        self.norm2, self.fc1 = nn.LayerNorm(features), nn.Linear(features, EXPANSION * features)
        self.gelu, self.fc2 = nn.GELU(), nn.Linear(EXPANSION * features, features)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Images (B, C, size, size) -> logits (B, num_classes)."""

    def __init__(self, num_classes: int, features: int, in_channels: int, size: int):
        super().__init__()
        patch = max(2, size // 8)
        self.patches, side = patches(in_channels, features, patch, size)
        self.position = nn.Parameter(torch.empty(1, side**2, features))
        self.blocks = nn.Sequential(*(Block(features) for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, num_classes)
        nn.init.normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position  # (B, T, F)
        return self.head(self.norm(self.blocks(x)).mean(1))


def patches(inputs: int, features: int, patch: int, size: int) -> tuple[nn.Sequential, int]:
    """Two convolutions whose strides together are `patch`, and the side of what they make of an image:
    (B, inputs, size, size) -> (B, features, side, side)."""
    second = 2 if patch % 2 == 0 else patch
    layers: list[nn.Module] = []
    for channels, stride in ((features // 2, patch // second), (features, second)):
        kernel = max(3, 2 * stride - 1)
        layers += [nn.Conv2d(inputs, channels, kernel, stride, padding=kernel // 2), nn.GELU()]
        inputs, size = channels, -(-size // stride)
    return nn.Sequential(*layers[:-1]), size


@register("vit")
def vit(num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32) -> nn.Module:
    """Four blocks of four heads of 16 channels; width scales the channels of a head."""
    return VisionTransformer(num_classes, HEADS * scaled(HEAD, width), in_channels, size)
