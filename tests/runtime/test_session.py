"""The libraries behind the graphs keep to themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import need

import avglance


def test_a_tagged_video_leaves_nothing_behind_and_tells_nobody(tmp_path: Path) -> None:
    """onnxruntime would write a device id into the cache folder, and a file of what it means to send."""
    need("onnxruntime")
    sample = Path(avglance.__file__).parent / "samples" / "glanceworld.mp4"
    words = ["tag", str(sample), "--model", "avgn_nano.glanceworld", "--runtime", "onnx", "--quiet"]
    given = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    given |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "avglance", *words], env=given, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*"))


TOLD = """import socket, sys
def refuse(self, address, *rest):
    sys.exit(f"a connection to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *where, **how: sys.exit(f"a look for {where}")
from avglance.app.cli import main
code = main(sys.argv[1:])
import openvino.tools.ovc.telemetry_utils as told
assert told.tm.__name__.endswith("telemetry_stub"), told.tm
assert "openvino_telemetry" not in sys.modules
sys.exit(code)
"""


def test_openvino_leaves_nothing_behind_and_tells_nobody(tmp_path: Path) -> None:
    """Its import would count itself in a file at home and send that: the package for that is never loaded."""
    need("openvino")
    sample = Path(avglance.__file__).parent / "samples" / "glanceworld.mp4"
    words = ["tag", str(sample), "--model", "avgn_nano.glanceworld", "--runtime", "openvino", "--quiet"]
    ci = ("CI", "TF_BUILD", "JENKINS_URL")  # where these say that it is a test, it keeps quiet by itself
    given = {name: value for name, value in os.environ.items() if name not in ci}
    given |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    command = [sys.executable, "-c", TOLD, *words, "--in-process"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runtime"] == "openvino"
    assert not list(tmp_path.rglob("*"))


FREED = """import os, signal, subprocess, sys, time
import avglance
model = avglance.load("avgn_nano.glanceworld", runtime="openvino")
assert model.tag(sys.argv[1]).runtime == "openvino"
del model
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append(1))
kill = f"import os, signal; os.kill({os.getpid()}, signal.SIGTERM)"
subprocess.run([sys.executable, "-c", kill], check=True)
until = time.monotonic() + 20
while not came and time.monotonic() < until:
    time.sleep(0.01)
sys.exit(0 if came else "no signal came")
"""


def test_a_signal_after_the_last_model_of_openvino_has_gone_is_only_a_signal() -> None:
    """Its threads outlive its code for the processor, were that unloaded with the last model."""
    need("openvino")
    sample = Path(avglance.__file__).parent / "samples" / "glanceworld.mp4"
    subprocess.run([sys.executable, "-c", FREED, str(sample)], check=True, capture_output=True)
