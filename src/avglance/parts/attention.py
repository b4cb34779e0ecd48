"""Attention that the operation counter sees, and AESPA: sound tells a picture's map where to look.

Paper: Audio-Visual Glance Network (ICCV 2023), audio-enhanced spatial patch attention. The paper's exact
form is unknown; this is the one named A1 in our notes: cross-attention, the cells of the map ask
and the sounds of the whole video answer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError


def attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in ``heads`` heads.

    Args:
        q: queries, shape (n, L, d).
        k: keys, shape (n, N, d).
        v: values, shape (n, N, d).
        heads: how many heads; divides d.
        dropout: probability of dropping an attention weight; 0 outside training.

    Returns:
        The attended values, heads side by side, shape (n, L, d).

    ``scaled_dot_product_attention`` is called and not ``nn.MultiheadAttention``, for which torch's operation
    counter reads 0.
    """

    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)  # (n, heads, ., d / heads)

    mixed = F.scaled_dot_product_attention(split(q), split(k), split(v), dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(2)


def check_heads(width: int, heads: int, where: str) -> None:
    """Raise ``ArgumentError`` where ``heads`` does not divide ``width``."""
    if heads < 1 or width % heads:
        raise ArgumentError(f"width={width} does not divide into {heads} heads", where=where)


class FeedForward(nn.Sequential):
    """Linear, GELU, dropout, linear, dropout: (..., d) -> (..., d)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )


class SelfLayer(nn.Module):
    """A pre-norm encoder layer: every token sees every token; (n, N, d) -> (n, N, d)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(width, heads, "SelfLayer")
        self.heads, self.drop = heads, dropout
        self.norm, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out = nn.Linear(width, width)
        self.feed = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens after attention and feed-forward."""
        p = self.drop if self.training else 0.0
        q, k, v = self.project(self.norm(x)).chunk(3, dim=-1)
        x = x + F.dropout(self.out(attend(q, k, v, heads=self.heads, dropout=p)), p, self.training)
        deeper: Tensor = x + self.feed(self.norm_forward(x))
        return deeper


class CrossLayer(nn.Module):
    """A pre-norm layer whose tokens ask a memory; keys and values come ready made, by ``keys_values``."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        check_heads(width, heads, "CrossLayer")
        self.heads = heads
        self.norm, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed = FeedForward(width, hidden)

    def forward(self, x: Tensor, remembered: Tensor) -> Tensor:
        """The tokens (n, N, d) after asking ``remembered`` (n, T, 2 d)."""
        k, v = remembered.chunk(2, dim=-1)
        x = x + self.out(attend(self.query(self.norm(x)), k, v, heads=self.heads))
        deeper: Tensor = x + self.feed(self.norm_forward(x))
        return deeper


class AESPA(nn.Module):
    """Glance map + the sounds of the whole video -> the map that the policy reads; identity at the start.

    Shapes:
        memory   sounds (B, T, Da) -> (B, T, 2 * layers * d): keys and values of every layer, once a video
        forward  map (n, D, h, w), memory of the video of each map (n, T, 2 * layers * d) -> (n, D, h, w)

    Multiply-adds at the defaults (D = Da = 1280, 7 x 7, T = 16): 9,437,184 a video, 71,450,624 a map.
    Permuting the sounds changes the answer only through ``when``, the embedding of time.

    Source: AVGN, AESPA (form A1 of our notes). Detach the inputs, never the output, or nothing trains it.
    """

    def __init__(
        self,
        map_width: int,
        sound_width: int,
        map_side: int | tuple[int, int],
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 512,
        max_snippets: int = 32,
    ) -> None:
        super().__init__()
        self.map_size = (map_side, map_side) if isinstance(map_side, int) else tuple(map_side)
        self.map_width, self.max_snippets = map_width, max_snippets
        self.squeeze = nn.Conv2d(map_width, width, 1)
        self.hear = nn.Linear(sound_width, width)
        self.where = nn.Parameter(0.02 * torch.randn(self.map_size[0] * self.map_size[1], width))
        self.when = nn.Parameter(0.02 * torch.randn(max_snippets, width))
        self.layers = nn.ModuleList(CrossLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Conv2d(width, map_width, 1)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)  # type: ignore[arg-type]

    def memory(self, sounds: Tensor) -> Tensor:
        """What the sounds (B, T, Da) of a video answer with; to be gathered by video for each map."""
        if sounds.ndim != 3 or sounds.shape[1] > self.max_snippets:
            raise ShapeError(
                f"sounds must be (B, T <= {self.max_snippets}, Da), got {tuple(sounds.shape)}",
                where="AESPA.memory",
            )
        x = self.hear(sounds) + self.when[: sounds.shape[1]]  # (B, T, d)
        return torch.cat([layer.keys_values(x) for layer in self.layers], dim=-1)  # type: ignore[operator]

    def forward(self, map: Tensor, memory: Tensor) -> Tensor:
        """The enhanced map, shape of ``map``."""
        if map.ndim != 4 or tuple(map.shape[1:]) != (self.map_width, *self.map_size):
            size = (self.map_width, *self.map_size)
            raise ShapeError(
                f"map must be (n, {', '.join(str(n) for n in size)}), got {tuple(map.shape)}", where="AESPA"
            )
        if memory.ndim != 3 or len(memory) != len(map):
            raise ShapeError(f"memory must be ({len(map)}, T, .), got {tuple(memory.shape)}", where="AESPA")
        x = self.squeeze(map).flatten(2).transpose(1, 2) + self.where  # (n, h w, d)
        for layer, remembered in zip(self.layers, memory.chunk(len(self.layers), dim=-1), strict=True):
            x = layer(x, remembered)
        enhanced: Tensor = map + self.widen(
            self.norm(x).transpose(1, 2).reshape(len(map), -1, *self.map_size)
        )
        return enhanced
