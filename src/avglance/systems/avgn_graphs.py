"""AVGN taken apart: a graph for each of its stages, and what the host loop must know of the rest.

glance_picture, glance_sound, focus: encoder and its auxiliary head     choose: learned vectors and AV-TeST
hear: what AESPA keeps of the sounds     aim: AESPA and what the policy makes of each moment by itself
recall: the policy's memory, a moment after the other     mix, answer: what a look says by itself, and then
familiar: how near it lies to each class in training

What each moment gives by itself is asked for all moments at once, so that the large matrices are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avglance.parts.fusion import TEMPERATURE
from avglance.parts.meter import row_macs
from avglance.parts.policy import RecurrentPolicy
from avglance.systems.avgn_familiar import weight
from avglance.systems.avgn_looks import ORDERS, random_corners
from avglance.systems.graphs import Encoded, Exported, StageGraph
from avglance.views import MEL_BANDS, MEL_FRAMES

if TYPE_CHECKING:
    from avglance.systems.avgn import AVGN

ROWS = 2  # of the examples: one would be taken for an axis that may be dropped


class Cells(nn.Module):
    """Map (n, D, h, w) -> its cells (n, D, c, c): ``adaptive_avg_pool2d``, for sides that c does not divide.

    As two matrices, since ONNX has no form of it for those.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, cells: int, size: Sequence[int]) -> None:
        super().__init__()
        for name, side in zip(("rows", "columns"), size, strict=True):
            pooled = F.adaptive_avg_pool1d(torch.eye(side, dtype=torch.float64), cells)
            self.register_buffer(name, pooled.T.float().contiguous())

    def forward(self, map: Tensor) -> Tensor:
        """The mean of each cell."""
        pooled: Tensor = self.rows @ map @ self.columns.T
        return pooled


class Choose(nn.Module):
    """Glance vectors and where they are there -> saliency, and the vectors with learned ones filled in."""

    def __init__(self, system: AVGN) -> None:
        super().__init__()
        self.no_picture, self.no_sound, self.saliency = system.no_picture, system.no_sound, system.saliency
        self.hears = system.settings.switches.hear_choose

    def forward(self, picture: Tensor, sound: Tensor, visible: Tensor, audible: Tensor) -> tuple[Tensor, ...]:
        """Logits (n, T), vectors (n, T, Dv) and (n, T, Da)."""
        picture, sound = self.no_picture(picture, visible), self.no_sound(sound, audible)
        return self.saliency(picture, sound if self.hears else None).logits, picture, sound


class Hear(nn.Module):
    """Sounds (n, T, Da) -> what AESPA keeps of them."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, sound: Tensor) -> Tensor:
        """The memory, (n, T, .)."""
        kept: Tensor = self.attention.memory(sound)  # type: ignore[operator]
        return kept


class Aim(nn.Module):
    """A moment's map and what was heard -> corner (n, 2), or gates for the memory of a policy with one."""

    def __init__(self, system: AVGN) -> None:
        super().__init__()
        self.attention = system.attention if system.settings.switches.hear_aim else None
        self.policy = system.policy

    def forward(self, map: Tensor, memory: Tensor) -> Tensor:
        """Corners, or gates (n, 3 H) without what the state adds to them."""
        if self.attention is not None:
            map = self.attention(map, memory)
        policy = self.policy
        if not isinstance(policy, RecurrentPolicy):
            corner: Tensor = policy.best(map[:, None])[:, 0]
            return corner
        x = policy.gather(policy.squeeze(map).flatten(1))
        return F.linear(x, policy.memory.weight_ih, policy.memory.bias_ih)


class Recall(nn.Module):
    """Gates (n, 3 H) of a moment and the state before it -> corner (n, 2) and the state: ``nn.GRUCell``."""

    def __init__(self, policy: RecurrentPolicy) -> None:
        super().__init__()
        self.memory, self.to_corner = policy.memory, policy.to_corner

    def forward(self, gates: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the policy."""
        kept = F.linear(state, self.memory.weight_hh, self.memory.bias_hh)
        (reset, update, new), (r, u, n) = gates.chunk(3, -1), kept.chunk(3, -1)
        new = (new + (reset + r).sigmoid() * n).tanh()
        state = new + (update + u).sigmoid() * (state - new)
        return self.to_corner(state).sigmoid(), state


class Mix(nn.Module):
    """Vectors of a moment -> what it adds to the answer, whatever the others are.

    That is z by a maximum, and what the moment says by itself by a soft one: see ``PrefixClassifier.steps``.
    """

    def __init__(self, system: AVGN) -> None:
        super().__init__()
        self.mix, self.norm = system.classifier.mix, system.classifier.norm
        settings = system.settings
        self.weight = settings.answer_hear if settings.switches.hear_answer else 0.0  # of the sound
        self.head = system.classifier.heads[0] if system.classifier.pool == "soft" else None

    def forward(self, picture: Tensor, sound: Tensor, near: Tensor) -> Tensor:
        """Features z (n, hidden), or logits over the temperature (n, C)."""
        if self.weight != 1:
            sound = sound * self.weight if self.weight else torch.zeros_like(sound)
        z: Tensor = self.norm(self.mix(torch.cat([picture, sound, near], dim=-1))).relu()
        return z if self.head is None else self.head(z) / TEMPERATURE


class Answer(nn.Module):
    """What one more moment adds and what is known of those before -> logits after it, and what is known.

    Known is, as in ``PrefixClassifier.steps``, a maximum or the log of a sum. ``step``, the same in each row,
    is how many moments there were before. All z are at least 0, so that zeros stand for a maximum of none.
    """

    def __init__(self, system: AVGN) -> None:
        super().__init__()
        self.pool = system.classifier.pool
        self.heads = system.classifier.heads if self.pool == "max" else None

    def forward(self, mixed: Tensor, best: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, C), and the maximum (n, hidden) or the log of the sum (n, C)."""
        if self.heads is None:
            most = torch.maximum(best, mixed)  # ONNX knows no logaddexp
            both = most + ((best - most).exp() + (mixed - most).exp()).log()
            sums = torch.where(step[:, None] > 0, both, mixed)
            return TEMPERATURE * (sums - (step + 1).float().log()[:, None]), sums
        best = torch.maximum(best, mixed)
        heads: list[Any] = list(self.heads)
        at = step[0].clamp(max=len(heads) - 1)
        weights, biases = (
            torch.stack([getattr(head, name) for head in heads]) for name in ("weight", "bias")
        )
        return F.linear(best, weights[at], biases[at]), best


def avgn_graphs(system: AVGN) -> Exported:
    """The stages of an AVGN."""
    s, switches, view = system.settings, system.settings.switches, system.view_settings
    graphs: dict[str, StageGraph] = {}
    pictures = torch.zeros(ROWS, 3, view.glance_side, view.glance_side, dtype=torch.uint8)
    sounds = torch.zeros(ROWS, 1, MEL_FRAMES, MEL_BANDS)
    map, picture = system.encode_picture(pictures)
    sound = system.encode_sound(sounds)[1]
    if switches.see:
        macs = _encoding(system.encode_picture, system.head_picture, pictures, picture, "glance")
        cells = None if s.cells is None else Cells(s.cells, map.shape[-2:])
        module = Encoded(system.encode_picture, system.head_picture, maps=cells or nn.Identity())
        outputs = ("map", "picture", "logits")
        graphs["glance_picture"] = StageGraph(module, {"pictures": pictures}, outputs, macs)
    if switches.listens:
        macs = _encoding(system.encode_sound, system.head_sound, sounds, sound, "glance")
        module = Encoded(system.encode_sound, system.head_sound)
        graphs["glance_sound"] = StageGraph(module, {"sounds": sounds}, ("sound", "logits"), macs)
    map, T = (F.adaptive_avg_pool2d(map, s.cells) if s.cells else map), s.snippets
    v, a = (x[:, None].repeat(1, T, 1) for x in (picture, sound))
    there = torch.ones(ROWS, T, dtype=torch.bool)
    macs = {"choose": row_macs(system.saliency, v[:1], a[:1] if switches.hear_choose else None)}
    inputs = {"picture": v, "sound": a, "visible": there, "audible": there}
    graphs["choose"] = StageGraph(Choose(system), inputs, ("saliency", "pictures", "sounds"), macs)
    widths = {"picture": v.shape[-1], "sound": a.shape[-1], "near": system.encode_focus.width}
    if switches.see:
        graphs |= _aim_graphs(system, map, a) | _look_graphs(system, picture, sound)
    settings = {
        "see": switches.see, "listen": switches.listens, "patch": switches.patch,
        "hear_aim": switches.hear_aim, "whole_video": system.attention.whole_video,
        "hear_choose": switches.hear_choose, "glance_pictures": s.glance_pictures,
        "familiar": weight(system),
        "recurrent": isinstance(system.policy, RecurrentPolicy), "map": list(map.shape[1:]),
        "order": [] if switches.order == "saliency" else ORDERS[switches.order](T),
        "corners": random_corners(T).tolist() if switches.patch == "random" else [],
        "widths": widths | {"state": _state(system), "best": _known(system)},
    }  # fmt: skip
    return Exported("avgn", settings, graphs)


def _state(system: AVGN) -> int:
    return system.policy.hidden if isinstance(system.policy, RecurrentPolicy) else 0


def _known(system: AVGN) -> int:
    """Width of what the classifier knows of the moments before."""
    return system.classes if system.classifier.pool == "soft" else system.classifier.norm.num_features


def _encoding(encoder: nn.Module, head: nn.Module, x: Tensor, vector: Tensor, stage: str) -> dict[str, int]:
    """Multiply-adds of a row through an encoder, booked on ``stage``, and its head, booked on the answer."""
    return {stage: row_macs(encoder, x[:1]), "answer": row_macs(head, vector[:1])}


def _aim_graphs(system: AVGN, map: Tensor, sound: Tensor) -> dict[str, StageGraph]:
    """``aim``, ``hear`` before and ``recall`` behind it, where a policy aims, hears, and remembers."""
    switches, attention = system.settings.switches, system.attention
    if switches.patch != "policy":
        return {}
    graphs: dict[str, StageGraph] = {}
    memory = sound if attention.whole_video else sound[:, :1]
    macs = row_macs(system.policy, map[:1, None], method="steps")
    if switches.hear_aim:
        if attention.whole_video:
            each = {"aim": row_macs(attention, sound[:1], method="memory")}
            graphs["hear"] = StageGraph(Hear(attention), {"sound": sound}, ("memory",), each)
            memory = attention.memory(sound)
        macs += row_macs(attention, map[:1], memory[:1])
    inputs, module = {"map": map, "memory": memory}, Aim(system)
    if isinstance(system.policy, RecurrentPolicy):
        given = {"gates": module(map, memory), "state": torch.zeros(ROWS, _state(system))}
        recall, outputs = Recall(system.policy), ("corner", "next_state")
        step = row_macs(recall, *(x[:1] for x in given.values()))
        graphs["recall"] = StageGraph(recall, given, outputs, {"aim": step})
        macs -= step
    name = "gates" if "recall" in graphs else "corner"
    graphs["aim"] = StageGraph(module, inputs, (name,), {"aim": macs})
    return graphs


def _look_graphs(system: AVGN, picture: Tensor, sound: Tensor) -> dict[str, StageGraph]:
    """``mix`` and ``answer``, and ``focus`` before them, where there are close looks."""
    side, graphs = system.settings.patch_side, dict[str, StageGraph]()
    near = torch.zeros(ROWS, system.encode_focus.width)
    if system.settings.switches.patch != "none":
        patches = torch.zeros(ROWS, 3, side, side)
        macs = _encoding(system.encode_focus, system.head_focus, patches, near, "focus")
        module = Encoded(system.encode_focus, system.head_focus)
        graphs["focus"] = StageGraph(module, {"patches": patches}, ("near", "logits"), macs)
    vectors, mix = {"picture": picture, "sound": sound, "near": near}, Mix(system)
    whole = row_macs(system.classifier, torch.cat([*vectors.values()], dim=-1)[:1, None], method="steps")
    mixing = row_macs(mix, *(x[:1] for x in vectors.values()))
    graphs["mix"] = StageGraph(mix, vectors, ("mixed",), {"answer": mixing})
    inputs = {
        "mixed": mix(*vectors.values()), "best": torch.zeros(ROWS, _known(system)),
        "step": torch.zeros(ROWS, dtype=torch.int64),
    }  # fmt: skip
    if system.familiar is not None:
        given = vectors | {"audible": torch.ones(ROWS, dtype=torch.bool)}
        nearness = {"answer": row_macs(system.familiar, *(x[:1] for x in given.values()))}
        graphs["familiar"] = StageGraph(system.familiar, given, ("nearness",), nearness)
    graphs["answer"] = StageGraph(Answer(system), inputs, ("logits", "next_best"), {"answer": whole - mixing})
    return graphs
