"""What a system may ask of videos: the snippet grid, log-mel, resize and crop, and views over files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avglance.views.bill import Bill, crop_macs, resize_macs
from avglance.views.few import EVERY, ask_few, check_pictures, choose_pictures, evenly, sounds_differ
from avglance.views.grid import clip_start, snap, snippet_centres
from avglance.views.pictures import (
    crop_patches,
    file_to_square,
    resize,
    resize_matrix,
    shrinks_to,
    source_square,
    square_to_file,
)
from avglance.views.sound import (
    CLIP_S,
    CLIP_SAMPLES,
    LOG_OFFSET,
    LOGMEL_MACS,
    MEL_BANDS,
    MEL_FRAMES,
    RATE_HZ,
    SILENCE,
    logmel,
    mel_matrix,
)
from avglance.views.view import (
    GRIDS,
    Grid,
    View,
    ViewSettings,
    ask_all,
    ask_pictures,
    check_grid,
    check_places,
    expect_pictures,
)

if TYPE_CHECKING:
    from avglance.views.fileview import FileView

__all__ = [
    "CLIP_S",
    "CLIP_SAMPLES",
    "EVERY",
    "GRIDS",
    "LOGMEL_MACS",
    "LOG_OFFSET",
    "MEL_BANDS",
    "MEL_FRAMES",
    "RATE_HZ",
    "SILENCE",
    "Bill",
    "FileView",
    "Grid",
    "View",
    "ViewSettings",
    "ask_all",
    "ask_few",
    "ask_pictures",
    "check_grid",
    "check_pictures",
    "check_places",
    "choose_pictures",
    "clip_start",
    "crop_macs",
    "crop_patches",
    "evenly",
    "expect_pictures",
    "file_to_square",
    "logmel",
    "mel_matrix",
    "resize",
    "resize_macs",
    "resize_matrix",
    "shrinks_to",
    "snap",
    "snippet_centres",
    "sounds_differ",
    "source_square",
    "square_to_file",
]


def __getattr__(name: str) -> Any:  # FileView brings the decoder along: loaded when asked for
    if name == "FileView":
        from avglance.views.fileview import FileView

        return FileView
    raise AttributeError(f"module 'avglance.views' has no attribute {name!r}")
