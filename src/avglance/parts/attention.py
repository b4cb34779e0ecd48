"""Attention that the operation counter sees, and the transformer layers made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avglance.errors import ArgumentError


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

    a, b, c = split(q), split(k), split(v)
    if q.device.type == "cpu" and torch.is_grad_enabled():  # the fused form's backward is many times slower
        share = (a @ b.mT * a.shape[-1] ** -0.5).softmax(-1)
        mixed = F.dropout(share, dropout) @ c
    else:
        mixed = F.scaled_dot_product_attention(a, b, c, dropout_p=dropout)
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
