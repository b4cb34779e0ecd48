"""AESPA: sound tells a picture's map where to look.

Paper: Audio-Visual Glance Network (ICCV 2023), audio-enhanced spatial patch attention. The paper's exact form
is unknown. Four are here, named as in our notes; all have the same surface and are the identity at the start:
  A1  the cells of the map ask, the sounds of the whole video answer (a transformer of cross-attention)
  A2  cells and sounds attend to each other as one sequence, the cells are kept
  B   the snippet's own sound asks once, the cells it agrees with are strengthened
  C   the snippet's own sound opens gates: one a channel, one a cell
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avglance.errors import ArgumentError, ShapeError
from avglance.parts.attention import CrossLayer, SelfLayer

FORMS = ("a1", "a2", "b", "c")
HIDDEN_SHARE = 0.25  # of the cells, in the reconstruction


class TransformerAESPA(nn.Module):
    """Glance map + the sounds of the whole video -> the map that the policy reads; forms A1 and A2.

    Shapes:
        memory   sounds (B, T, Da) -> once a video, A1: keys and values of every layer (B, T, 2 * layers * d),
                 A2: tokens (B, T, d)
        forward  map (n, D, h, w), memory of the video of each map (n, T, .) -> (n, D, h, w)

    Multiply-adds of A1 at the defaults (D = Da = 1280, 7 x 7, T = 16): 9,437,184 a video, 71,450,624 a map.
    Permuting the sounds changes the answer only through ``when``, the embedding of time.

    Source: AVGN, AESPA (forms A1, the default, and A2 of our notes). Detach the inputs, never the output, or
    nothing trains it.
    """

    whole_video = True

    def __init__(
        self,
        map_width: int,
        sound_width: int,
        map_side: int | tuple[int, int],
        *,
        joint: bool = False,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 512,
        max_snippets: int = 32,
    ) -> None:
        super().__init__()
        self.map_size = (map_side, map_side) if isinstance(map_side, int) else tuple(map_side)
        self.map_width, self.max_snippets, self.joint = map_width, max_snippets, joint
        self.squeeze = nn.Conv2d(map_width, width, 1)
        self.hear = nn.Linear(sound_width, width)
        self.where = nn.Parameter(0.02 * torch.randn(self.map_size[0] * self.map_size[1], width))
        self.when = nn.Parameter(0.02 * torch.randn(max_snippets, width))
        layer = SelfLayer if joint else CrossLayer
        self.layers = nn.ModuleList(layer(width, heads, hidden) for _ in range(layers))
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
        x: Tensor = self.hear(sounds) + self.when[: sounds.shape[1]]  # (B, T, d)
        if self.joint:
            return x
        return torch.cat([layer.keys_values(x) for layer in self.layers], dim=-1)  # type: ignore[operator]

    def tokens(
        self, map: Tensor, memory: Tensor, hidden: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The cells after the layers, (n, h w, d); the ``hidden`` ones (n, h w) begin as ``mask`` (d,)."""
        check_map(map, self.map_width, self.map_size)
        check_memory(memory, len(map))
        x = self.squeeze(map).flatten(2).transpose(1, 2)  # (n, h w, d)
        if hidden is not None and mask is not None:
            x = torch.where(hidden.unsqueeze(-1), mask.to(x.dtype), x)
        x = x + self.where
        if self.joint:
            x = torch.cat([x, memory.to(x.dtype)], dim=1)
            for layer in self.layers:
                x = layer(x)
            return self.norm(x[:, : self.where.shape[0]])  # type: ignore[no-any-return]
        for layer, remembered in zip(self.layers, memory.chunk(len(self.layers), dim=-1), strict=True):
            x = layer(x, remembered)
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(self, map: Tensor, memory: Tensor) -> Tensor:
        """The enhanced map, shape of ``map``."""
        x = self.tokens(map, memory).transpose(1, 2)
        enhanced: Tensor = map + self.widen(x.reshape(map.shape[0], -1, *self.map_size))
        return enhanced


class QueryAESPA(nn.Module):
    """Form B: F'[n] = F[n] (1 + g N alpha_n), alpha = softmax_n(q . k_n / sqrt d), q of the snippet's sound.

    Shapes:
        memory   sounds (B, T, Da) -> the same
        forward  map (n, D, h, w), sound of each map's snippet (n, 1, Da) -> (n, D, h, w)

    alpha sums to 1 over the N = h w cells.

    Multiply-adds at D = Da = 1280, 7 x 7, d = 256: 16,396,544 a map. g starts at 0.
    """

    whole_video = False

    def __init__(
        self, map_width: int, sound_width: int, map_side: int | tuple[int, int], *, width: int = 256
    ) -> None:
        super().__init__()
        self.map_size = (map_side, map_side) if isinstance(map_side, int) else tuple(map_side)
        self.map_width = map_width
        self.ask, self.answer = nn.Linear(sound_width, width), nn.Conv2d(map_width, width, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def memory(self, sounds: Tensor) -> Tensor:
        """The sounds themselves."""
        return sounds

    def weights(self, map: Tensor, memory: Tensor) -> Tensor:
        """Alpha of every cell, row by row, (n, h w)."""
        check_map(map, self.map_width, self.map_size)
        check_memory(memory, len(map))
        k = self.answer(map).flatten(2)  # (n, d, N)
        q = self.ask(memory[:, :1])  # (n, 1, d)
        return ((q @ k).squeeze(1) * k.shape[1] ** -0.5).softmax(-1)  # type: ignore[no-any-return]

    def forward(self, map: Tensor, memory: Tensor) -> Tensor:
        """The enhanced map, shape of ``map``."""
        alpha = self.weights(map, memory)
        gained = 1 + self.gain * alpha.shape[1] * alpha
        return map * gained.reshape(-1, 1, *self.map_size)


class GateAESPA(nn.Module):
    """Form C: F'[n] = 4 c r_n F[n], a gate c a channel from the snippet's sound, a gate r_n a cell from both.

    Shapes: as form B. Multiply-adds at D = Da = 1280, 7 x 7: 391,680 a map. Both gates start at 1/2.
    """

    whole_video = False

    def __init__(
        self, map_width: int, sound_width: int, map_side: int | tuple[int, int], *, width: int = 128
    ) -> None:
        super().__init__()
        self.map_size = (map_side, map_side) if isinstance(map_side, int) else tuple(map_side)
        self.map_width = map_width
        self.channels = nn.Sequential(
            nn.Linear(sound_width, width, bias=False), nn.ReLU(), nn.Linear(width, map_width, bias=False)
        )
        self.see, self.hear = nn.Conv2d(map_width, 1, 1), nn.Linear(sound_width, 1, bias=False)
        for weight in (self.channels[2].weight, self.see.weight, self.see.bias, self.hear.weight):
            nn.init.zeros_(weight)  # type: ignore[arg-type]

    def memory(self, sounds: Tensor) -> Tensor:
        """The sounds themselves."""
        return sounds

    def forward(self, map: Tensor, memory: Tensor) -> Tensor:
        """The enhanced map, shape of ``map``."""
        check_map(map, self.map_width, self.map_size)
        check_memory(memory, len(map))
        own = memory[:, 0]  # (n, Da)
        c = self.channels(own).sigmoid()[:, :, None, None]  # (n, D, 1, 1)
        r = (self.see(map) + self.hear(own)[:, :, None, None]).sigmoid()  # (n, 1, h, w)
        enhanced: Tensor = 4 * c * r * map
        return enhanced


class CellsHidden(nn.Module):
    """Loss M2: a quarter of the map's cells is hidden from AESPA and rebuilt.

    Form A2 rebuilds them from the other cells and the sound; in form A1 cells do not see each other, so the
    place and the sound are all that is left.

    Source: AVGN, masked visual token reconstruction, in the form M2 of our notes; training only.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.rebuild = nn.Linear(width, width)

    def forward(
        self, attention: TransformerAESPA, map: Tensor, memory: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Mean squared error of the hidden cells (layer-normed, detached) of maps (n, D, h, w); a scalar."""
        want = attention.squeeze(map).flatten(2).transpose(1, 2).detach()  # (n, N, d)
        want = nn.functional.layer_norm(want, want.shape[-1:])
        draw = torch.rand(want.shape[:2], generator=rng, device=rng.device).to(map.device)
        hide = torch.zeros(want.shape[:2], dtype=torch.bool, device=map.device)
        hide.scatter_(1, draw.topk(max(1, round(HIDDEN_SHARE * want.shape[1])), dim=1).indices, True)
        error: Tensor = (
            (self.rebuild(attention.tokens(map, memory, hide, self.mask)) - want).square().mean(-1)
        )
        return (error * hide).sum() / hide.sum().clamp(min=1)


AESPA = TransformerAESPA | QueryAESPA | GateAESPA


def build_aespa(
    form: str, map_width: int, sound_width: int, map_side: int | tuple[int, int], *, width: int, hidden: int
) -> AESPA:
    """The form "a1", "a2", "b" or "c"; ``width`` of tokens or queries (C: half), ``hidden`` of A1 and A2."""
    if form not in FORMS:
        raise ArgumentError(f"form {form!r} is none of {', '.join(FORMS)}", where="build_aespa")
    if form == "b":
        return QueryAESPA(map_width, sound_width, map_side, width=width)
    if form == "c":
        return GateAESPA(map_width, sound_width, map_side, width=max(1, width // 2))
    return TransformerAESPA(map_width, sound_width, map_side, joint=form == "a2", width=width, hidden=hidden)


def check_map(map: Tensor, width: int, size: tuple[int, ...]) -> None:
    """Raises ShapeError where a map is not (n, D, h, w) of the part's sizes."""
    if map.ndim != 4 or tuple(map.shape[1:]) != (width, *size):
        want = ", ".join(str(n) for n in (width, *size))
        raise ShapeError(f"map must be (n, {want}), got {tuple(map.shape)}", where="AESPA")


def check_memory(memory: Tensor, maps: int) -> None:
    """Raises ShapeError where there is not one memory a map."""
    if memory.ndim != 3 or len(memory) != maps:
        raise ShapeError(f"memory must be ({maps}, T, .), got {tuple(memory.shape)}", where="AESPA")
