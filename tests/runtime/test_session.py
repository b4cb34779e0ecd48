"""The library behind the graphs keeps to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import avglance


def test_a_tagged_video_leaves_nothing_behind_and_tells_nobody(tmp_path: Path) -> None:
    """onnxruntime would write a device id into the cache folder, and a file of what it means to send."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    sample = Path(avglance.__file__).parent / "samples" / "glanceworld.mp4"
    words = ["tag", str(sample), "--model", "avgn_nano.glanceworld", "--runtime", "onnx", "--quiet"]
    given = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    given |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "avglance", *words], env=given, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*"))
