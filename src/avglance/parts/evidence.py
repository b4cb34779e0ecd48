"""Which snippets matter, judged by what each shows of the classes, without a look at its neighbours.

Not of the paper: a chooser for little data, beside AV-TeST. A transformer over a few backgrounds learns these
backgrounds by heart; lines learn what the classes look and sound like.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avglance.errors import ShapeError
from avglance.parts.fusion import soft_maximum
from avglance.parts.losses import label_loss
from avglance.parts.saliency import Saliency


class SnippetEvidence(nn.Module):
    """Glance vectors of both senses -> saliency of every snippet: its strongest class.

    Each sense speaks for each class by a linear layer on the square root of its vector, brought to length
    one and standardised. The logits of a snippet are the sum of both senses. The label of a video is learned
    through the soft maximum over its snippets, so no span is needed.

    Shapes:
        in   visual (B, T, Dv), sounds (B, T, Da) or None (then pictures speak alone)
        out  ``Saliency``: logits (B, T), class_logits (B, T, C); the pairs are the logits of each sense, side
             by side, (B, T, 2 C) or without sounds (B, T, C)

    Source: ours; multiple-instance learning with log-sum-exp pooling.
    """

    def __init__(
        self,
        visual_width: int,
        sound_width: int,
        classes: int,
        *,
        hide: float = 0.0,
        hear: float = 1.0,
        alone: float = 1.0,
    ) -> None:
        """Sizes, and three weights.

        Args:
            visual_width: Dv.
            sound_width: Da.
            classes: C.
            hide: share of the features that training hides.
            hear: weight of sound in the choice.
            alone: weight of the losses by each sense alone; 0 where only both together tell.
        """
        super().__init__()
        self.hide, self.share, self.alone = nn.Dropout(hide), hear, alone
        self.usual_picture = nn.BatchNorm1d(visual_width, affine=False)
        self.usual_sound = nn.BatchNorm1d(sound_width, affine=False)
        self.see, self.hear = nn.Linear(visual_width, classes), nn.Linear(sound_width, classes)

    def forward(self, visual: Tensor, sounds: Tensor | None = None) -> Saliency:
        """Saliency of (B, T) snippets."""
        seen, heard = self.speak(visual, sounds)
        pairs = seen if heard is None else torch.cat([seen, heard], -1)
        return Saliency(self._both(seen, heard).amax(-1), pairs, seen, lambda x: self._both(*self._apart(x)))

    def _both(self, seen: Tensor, heard: Tensor | None) -> Tensor:
        """Class logits (B, T, C) of both senses, sound by its weight in the choice."""
        return seen if heard is None else seen + self.share * heard

    def _apart(self, pairs: Tensor) -> tuple[Tensor, Tensor | None]:
        """What each sense says, (B, T, C)."""
        classes = self.see.out_features
        return pairs[..., :classes], pairs[..., classes:] if pairs.shape[-1] > classes else None

    def speak(self, visual: Tensor, sounds: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Class logits of each sense, (B, T, C).

        Raises:
            ShapeError: the vectors are not of the same snippets.
        """
        if visual.ndim != 3 or (sounds is not None and sounds.shape[:2] != visual.shape[:2]):
            got = f"{tuple(visual.shape)} and {None if sounds is None else tuple(sounds.shape)}"
            raise ShapeError(
                f"visual and sounds must be (B, T, Dv) and (B, T, Da), got {got}", where="SnippetEvidence"
            )
        seen: Tensor = self.see(self.hide(_standard(visual, self.usual_picture)))
        if sounds is None:
            return seen, None
        return seen, self.hear(self.hide(_standard(sounds, self.usual_sound)))

    def loss(self, said: Saliency, labels: Tensor) -> Tensor:
        """Loss of the labels (B,) or (B, C), by both senses together and by each alone.

        Args:
            said: what this part has said of the snippets.
            labels: of the videos.

        Returns:
            A scalar.
        """
        seen, heard = self._apart(said.pairs)
        if heard is None:
            return label_loss(soft_maximum(seen), labels)
        both = label_loss(soft_maximum(seen + heard), labels)
        each = [label_loss(soft_maximum(x), labels) for x in (seen, heard)]
        return both + self.alone * torch.stack(each).sum()


def _standard(x: Tensor, usual: nn.BatchNorm1d) -> Tensor:
    """Square root with its sign, length one, then zero mean and unit variance by what is usual."""
    x = F.normalize(x * (x.abs() + 1e-6).rsqrt(), dim=-1)
    found: Tensor = usual(x.flatten(0, 1)).reshape(x.shape)
    return found
