"""In which stages AVGN is trained, and each part at which rate."""

from __future__ import annotations

from avglance.systems.avgn_settings import AVGNSettings
from avglance.systems.base import Group, Stage
from avglance.systems.encoders import with_encoder_rate, with_rate

GLANCE = ("encode_picture", "encode_sound", "no_", "saliency", "head_picture", "head_sound", "head_fused")
FOCUS = ("encode_focus", "head_focus", "classifier")
AIM = ("attention", "hidden_cells", "policy")


def avgn_stages(settings: AVGNSettings) -> list[Stage]:
    """One stage, all parts together; or first the glance, then the focus, then all, by their shares."""
    stages = with_encoder_rate(_by_optimiser(settings), settings.encoder_rate)
    return with_rate(stages, "saliency", settings.choose_rate)


def _by_optimiser(s: AVGNSettings) -> list[Stage]:
    if s.optimiser == "adamw":
        looks = s.switches.see and s.switches.patch != "none"
        first = s.glance_share, s.focus_share if looks else 0.0
        if not any(first):
            return [Stage("all", (Group(("",), "adamw", s.rate, 0.01, "onecycle"),), batch=s.batch, clip=5.0)]
        slowly = (Group(GLANCE, "adamw", s.glance_rate * s.rate, 0.01, "onecycle"),) * (s.glance_rate > 0)
        steps = (
            ("glance", first[0], (Group(GLANCE, "adamw", s.rate, 0.01, "onecycle"),)),
            ("focus", first[1], (Group((*FOCUS, "head_fused"), "adamw", s.rate, 0.01, "onecycle"),)),
            ("all", 1 - sum(first), (*slowly, Group((*FOCUS, *AIM), "adamw", s.rate, 0.01, "onecycle"))),
        )
        return [
            Stage(name, groups, epochs_share=share, batch=s.batch, clip=5.0)
            for name, share, groups in steps
            if share > 0
        ]
    fast, slow = ("classifier",), ("encode_picture", "head_picture", "encode_sound", "head_sound", "no_")
    groups = (
        Group(("policy",), "sgd", 0.1 * s.rate, 1e-4, "cosine"),
        Group(slow, "sgd", 0.5 * s.rate, 1e-4, "cosine"),
        Group(("encode_focus", "head_focus", "head_fused"), "sgd", s.rate, 1e-4, "cosine"),
        Group(fast, "sgd", 5 * s.rate, 1e-4, "cosine"),
        Group(("saliency", "attention", "hidden_cells"), "adamw", 0.1 * s.rate, 0.05, "cosine"),
    )
    return [Stage("all", groups, batch=s.batch)]
