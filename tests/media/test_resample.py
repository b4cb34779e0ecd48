"""Resampling gives what PyAV's own resampler gives, to the bit, and starts no threads."""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from avglance.media.resample import Resampler


def frames(rate: int, layout: str, kind: str, *, count: int = 5, size: int = 1024) -> list[av.AudioFrame]:
    rng = np.random.default_rng(0)
    channels = av.AudioLayout(layout).nb_channels
    out = []
    for n in range(count):
        samples = rng.uniform(-0.9, 0.9, (channels, size))
        whole = (samples * 32767).astype(np.int16) if kind.startswith("s16") else samples.astype(np.float32)
        packed = whole if kind.endswith("p") else whole.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=kind, layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), n * size
        out.append(frame)
    return out


@pytest.mark.parametrize(
    ("rate", "layout", "kind"),
    [(48_000, "stereo", "fltp"), (44_100, "mono", "s16"), (8_000, "5.1", "s16p"), (16_000, "mono", "flt")],
)
def test_samples_are_those_of_av(rate: int, layout: str, kind: str) -> None:
    theirs, ours = av.AudioResampler(format="flt", layout="mono", rate=16_000), Resampler(16_000)
    for a, b in zip([*frames(rate, layout, kind), None], [*frames(rate, layout, kind), None], strict=True):
        expected = [out.to_ndarray().reshape(-1) for out in theirs.resample(a) if out is not None]
        found = ours.take(b)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float32
            assert np.array_equal(one, other)


def test_no_frame_gives_nothing_and_no_thread_is_started() -> None:
    assert Resampler(16_000).take(None) == []
    before = threading.active_count()
    resampler = Resampler(16_000)
    for frame in frames(48_000, "stereo", "fltp"):
        resampler.take(frame)
    assert threading.active_count() == before
    if hasattr(resampler._graph, "threads"):
        assert resampler._graph.threads == 1
