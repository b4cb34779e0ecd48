"""openvino in 32 and in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import need

import avglance
from avglance.app.cli import main
from avglance.errors import ArgumentError, CheckpointError, MissingExtra
from avglance.runtime import hosts, load_graphs, openvino_session
from avglance.runtime.avgn import AVGNHost
from avglance.runtime.folder import read_graphs
from avglance.runtime.graph import Graph
from avglance.runtime.whole import made_whole

NANO = Path(avglance.__file__).parent / "models" / "avgn_nano.glanceworld"
SAMPLE = Path(avglance.__file__).parent / "samples" / "glanceworld.mp4"


@pytest.fixture
def brief() -> None:
    """Skips where the processor has no bf16."""
    need("openvino")
    if not openvino_session.computes_briefly():
        pytest.skip("this processor does not compute in bf16")


def test_encoders_compute_in_16_bits_and_what_chooses_does_not(brief: None) -> None:
    exact, short = (load_graphs(NANO, by="openvino", precision=p).system for p in ("float32", "bf16"))
    assert (exact.precision, short.precision) == ("float32", "bf16")
    rng = np.random.default_rng(0)
    graphs = [host._loop.graphs for host in (exact, short)]  # type: ignore[attr-defined]
    view, widths = exact.view_settings, exact._loop.settings.widths  # type: ignore[attr-defined]
    pictures = rng.integers(0, 256, (3, 3, view.glance_side, view.glance_side), dtype=np.uint8)
    a, b = (g["glance_picture"](pictures=pictures)[1] for g in graphs)
    apart = np.abs(a - b).max() / np.abs(a).max()
    assert 1e-4 < apart < 3e-2, "the second digit, and not the fifth"
    T = view.snippets
    given = {
        "picture": rng.random((1, T, widths["picture"]), dtype=np.float32),
        "sound": rng.random((1, T, widths["sound"]), dtype=np.float32),
        "visible": np.ones((1, T), bool), "audible": np.ones((1, T), bool),
    }  # fmt: skip
    a, b = (g["choose"](**given)[0] for g in graphs)
    assert np.array_equal(a, b), "what chooses is no encoder"


def test_large_graphs_that_are_no_encoders_are_brief_too(
    brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not what chooses."""
    asked: dict[str, int | None] = {}

    class Seen(Graph):
        def __init__(self, name: str, content: bytes, **how: object) -> None:
            asked[name] = how["brief_from"]  # type: ignore[assignment]
            super().__init__(name, content, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(hosts, "Graph", Seen)
    load_graphs(NANO, by="openvino", precision="bf16")
    assert {name for name, least in asked.items() if least == 0} == set(AVGNHost.encoders)
    assert {name for name, least in asked.items() if least is None} == {"choose"}
    assert set(asked.values()) == {0, None, 4_000_000}
    load_graphs(NANO, by="openvino")
    assert set(asked.values()) == {None}


def test_large_means_the_same_as_by_torch() -> None:
    short = pytest.importorskip("avglance.parts.short", reason="torch is not installed")
    assert hosts.LARGE == short.LARGE


@pytest.mark.parametrize("name", ["avgn_nano", "tsn_nano"])
def test_encoders_are_called_as_the_graphs_are(name: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from avglance.systems import build
    from avglance.systems.graphs import take_apart

    made = take_apart(build(name, classes=3).eval())
    assert set(hosts.KINDS[made.kind].encoders) <= set(made.graphs)


def test_the_size_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    found = read_graphs(NANO)
    content, hints = found.graphs["focus"], []
    real = openvino_session.core(openvino_session.imported())
    count = openvino_session._numbers(real.read_model(made_whole(content, found.weights)))

    class Core:
        read_model = staticmethod(real.read_model)

        @staticmethod
        def compile_model(model: object, device: str, settings: dict[str, object]) -> object:
            hints.append(settings["INFERENCE_PRECISION_HINT"])
            return real.compile_model(model, device, {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino_session, "core", lambda _: Core)
    assert 1_000 < count < 10_000_000
    for least in (0, count, count + 1, None):
        openvino_session.OpenVINOSession(content, found.weights, 1, brief_from=least)
    assert hints == ["bf16", "bf16", "f32", "f32"]


def test_weights_are_counted_wherever_they_lie() -> None:
    need("openvino")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    found, core = read_graphs(NANO), openvino_session.core(openvino_session.imported())
    for content in found.graphs.values():
        tensors = onnx.load_model_from_string(content).graph.initializer
        held = sum(int(np.prod(tensor.dims)) for tensor in tensors)
        assert held <= openvino_session._numbers(core.read_model(made_whole(content, found.weights)))


def test_a_forged_graph_is_no_traceback() -> None:
    need("openvino")
    found = read_graphs(NANO)
    half = found.graphs["focus"][:1000]
    with pytest.raises(CheckpointError, match="openvino cannot run it"):
        Graph("focus", half, macs={}, weights=found.weights, by="openvino", brief_from=0)


def test_only_openvino_is_brief() -> None:
    need("onnxruntime")
    with pytest.raises(ArgumentError, match="onnx computes in float32"):
        load_graphs(NANO, precision="bf16")
    with pytest.raises(ArgumentError, match="precision must be float32 or bf16, got 'fp8'"):
        load_graphs(NANO, by="openvino", precision="fp8")  # type: ignore[arg-type]


def test_answers_say_so(brief: None) -> None:
    plain = avglance.load(NANO, runtime="openvino").tag(SAMPLE)
    for word in ("bf16", "auto"):
        found = avglance.load(NANO, runtime="openvino", precision=word).tag(SAMPLE)  # type: ignore[arg-type]
        assert (found.runtime, found.precision) == ("openvino", "bf16")
        assert found.cost.macs == plain.cost.macs
        assert found.labels[0].name == plain.labels[0].name
        assert found.labels[0].score == pytest.approx(plain.labels[0].score, abs=0.05)
    assert (plain.runtime, plain.precision) == ("openvino", "float32")


def test_a_processor_without_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    need("openvino")
    for place in ("avglance.app.runtimes", "avglance.runtime.hosts"):
        monkeypatch.setattr(f"{place}.computes_briefly", lambda: False)
    words = ["tag", str(SAMPLE), "--model", str(NANO), "--runtime", "openvino", "--json", "--precision"]
    assert main([*words, "bf16"]) == 2
    said = capsys.readouterr().err
    assert "does not compute in bf16" in said
    assert "--precision float32" in said
    assert main([*words, "auto"]) == 0
    assert '"precision": "float32"' in capsys.readouterr().out


def test_a_processor_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")

    class Core:
        @staticmethod
        def get_property(*_: str) -> object:
            raise RuntimeError("no plugin for CPU\nand a long trace")

    monkeypatch.setattr(openvino_session, "core", lambda _: Core)
    with pytest.raises(MissingExtra, match=r"cannot use the processor \(no plugin for CPU\)"):
        avglance.load(NANO, runtime="openvino", precision="auto")
