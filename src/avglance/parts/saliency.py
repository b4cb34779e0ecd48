"""AV-TeST: which snippets matter, judged by a small transformer over the glance of both senses.

Paper: Audio-Visual Glance Network (ICCV 2023), audio-visual temporal saliency transformer. Layers, widths and
heads are our defaults, the paper's are unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.attention import SelfLayer


def pick_moments(saliency: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` most salient snippets, most salient first.

    Args:
        saliency: scores in any real unit, shape (B, T).
        k: how many moments to keep, 1 <= k <= T.

    Returns:
        int64 indices, shape (B, K), saliency falling along K.

    Raises:
        ShapeError: ``saliency`` is not 2-D.
        ArgumentError: ``k`` is outside [1, T].

    Source: AVGN, top-k of the saliency. Ties go to the earlier snippet (the paper is silent).

    >>> pick_moments(torch.tensor([[0.1, 0.9, 0.3, 0.8]]), k=2)
    tensor([[1, 3]])
    """
    if saliency.ndim != 2:
        raise ShapeError(f"saliency must be (B, T), got {tuple(saliency.shape)}")
    if not 1 <= k <= saliency.shape[1]:
        raise ArgumentError(
            f"k={k} is outside [1, {saliency.shape[1]}]",
            where="pick_moments",
            hint="lower k, or glance at more snippets",
        )
    order = saliency.sort(dim=1, descending=True, stable=True).indices  # (B, T)
    return order[:, :k]  # (B, K)


@dataclass(frozen=True)
class Saliency:
    """What AV-TeST says, or what else chooses.

    Attributes:
        logits: saliency, a softmax over T gives its share of the answer, shape (B, T).
        pairs: what both senses say, side by side, shape (B, T, 2 d): tokens after the transformer; of lines
            logits, and those of pictures alone, (B, T, C), where nothing is heard.
        visual_tokens: what the pictures alone say, shape (B, T, d).
    """

    logits: Tensor
    pairs: Tensor
    visual_tokens: Tensor
    classify: Callable[[Tensor], Tensor]

    @property
    def class_logits(self) -> Tensor:
        """AV logits a snippet, shape (B, T, C); used by training alone, so computed only when asked for."""
        return self.classify(self.pairs)


class AVTeST(nn.Module):
    """Glance vectors of both senses -> saliency of every snippet.

    Shapes:
        in   visual (B, T, Dv), sounds (B, T, Da) or None (then no sound tokens), T <= ``max_snippets``
        out  ``Saliency``: logits (B, T), class_logits (B, T, C), visual_tokens (B, T, d)

    Multiply-adds at the defaults (Dv = Da = 1280, T = 16): 61,874,176. Parameters: 2,245,633 and,
    for training, the AV-logit head (512 C + C) and those of the masked reconstruction (66,048).

    Source: AVGN, AV-TeST, in the default form of our notes.
    """

    def __init__(
        self,
        visual_width: int,
        sound_width: int,
        classes: int,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 1024,
        dropout: float = 0.1,
        max_snippets: int = 32,
        hide: float = 0.0,
    ) -> None:
        """``hide``: share of the features that training hides, so that no few of them decide."""
        super().__init__()
        self.hide = nn.Dropout(hide)
        self.width, self.max_snippets = width, max_snippets
        self.see, self.hear = nn.Linear(visual_width, width), nn.Linear(sound_width, width)
        self.when = nn.Parameter(0.02 * torch.randn(max_snippets, width))  # shared by both senses
        self.sense = nn.Parameter(0.02 * torch.randn(2, width))  # picture, sound
        self.layers = nn.Sequential(*(SelfLayer(width, heads, hidden, dropout) for _ in range(layers)))
        self.norm, self.score = nn.LayerNorm(2 * width), nn.Linear(2 * width, 1)
        self.classify = nn.Linear(2 * width, classes)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.reconstruct = nn.Linear(width, width)

    def _plain(self, x: Tensor, project: nn.Module) -> Tensor:
        return F.layer_norm(
            project(x), (self.width,)
        )  # no affine: what is reconstructed cannot shrink to nothing

    def forward(
        self, visual: Tensor, sounds: Tensor | None = None, visual_mask: Tensor | None = None
    ) -> Saliency:
        """Saliency of (B, T) snippets; picture tokens where ``visual_mask`` (B, T) is True are hidden."""
        self._check(visual, sounds)
        T = visual.shape[1]
        x = self._plain(self.hide(visual), self.see)  # (B, T, d)
        if visual_mask is not None:
            x = torch.where(visual_mask.unsqueeze(-1), self.mask_token.to(x.dtype), x)
        x = x + self.when[:T] + self.sense[0]
        if sounds is not None:
            x = torch.cat(
                [x, self._plain(self.hide(sounds), self.hear) + self.when[:T] + self.sense[1]], dim=1
            )  # (B, 2T, d)
        y = self.layers(x)
        heard = y[:, T:] if sounds is not None else torch.zeros_like(y)
        pairs = torch.cat([y[:, :T], heard], dim=-1)  # (B, T, 2d)
        return Saliency(self.score(self.norm(pairs)).squeeze(-1), pairs, y[:, :T], self.classify)

    def masked_loss(
        self,
        visual: Tensor,
        sounds: Tensor | None,
        *,
        rng: torch.Generator,
        visible: Tensor | None = None,
        share: float = 0.25,
    ) -> Tensor:
        """Mean squared error of rebuilding hidden picture tokens from the rest (loss M1 of our notes).

        Args:
            visual: picture vectors, shape (B, T, Dv).
            sounds: sound vectors, shape (B, T, Da), or None.
            rng: draws which tokens are hidden.
            visible: snippets that have a picture, shape (B, T); others are never hidden. None: all.
            share: part of the T tokens to hide, at least one a video.

        Returns:
            A scalar; 0 where no video has a picture. The target is detached.
        """
        B, T, _ = visual.shape
        seen = torch.ones(B, T, dtype=torch.bool, device=visual.device) if visible is None else visible
        draw = torch.rand(B, T, generator=rng, device=rng.device).to(visual.device)
        hide = torch.zeros_like(seen)
        hide.scatter_(1, (draw + seen).topk(max(1, round(share * T)), dim=1).indices, True)  # seen ones first
        hide &= seen
        target = self._plain(visual, self.see).detach()
        tokens = self(visual, sounds, hide).visual_tokens
        error: Tensor = (self.reconstruct(tokens) - target).square().mean(-1)  # (B, T)
        return (error * hide).sum() / hide.sum().clamp(min=1)

    def _check(self, visual: Tensor, sounds: Tensor | None) -> None:
        if visual.ndim != 3 or (sounds is not None and sounds.shape[:2] != visual.shape[:2]):
            got = f"{tuple(visual.shape)} and {None if sounds is None else tuple(sounds.shape)}"
            raise ShapeError(
                f"visual and sounds must be (B, T, Dv) and (B, T, Da), got {got}", where="AVTeST"
            )
        if visual.shape[1] > self.max_snippets:
            raise ArgumentError(
                f"{visual.shape[1]} snippets, but the embedding of time has {self.max_snippets}",
                where="AVTeST",
                hint="fewer snippets, or build with a larger max_snippets",
            )
