"""AVGLance: find out what happens in a video by looking at almost none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"
__all__ = ["Decoders", "Limits", "VideoArray", "__version__", "load", "report"]

if TYPE_CHECKING:
    from avglance.app import report
    from avglance.app.api import load
    from avglance.media import Decoders, Limits, VideoArray

_AT_HOME = {
    "Decoders": "avglance.media",
    "Limits": "avglance.media",
    "VideoArray": "avglance.media",
    "load": "avglance.app.api",
}


def __getattr__(name: str) -> Any:
    # Public names load when they are asked for, so that importing the package loads no torch.
    from importlib import import_module

    if name == "report":
        return import_module("avglance.app.report")
    if name in _AT_HOME:
        return getattr(import_module(_AT_HOME[name]), name)
    raise AttributeError(f"module 'avglance' has no attribute {name!r}")
