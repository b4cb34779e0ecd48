"""The dear way to a few pictures of a file, for comparison: every one of it is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from avglance.media.asked import longest_side, wanted_times
from avglance.media.frame import Frame
from avglance.media.reader import VideoReader


def frames_through(
    reader: VideoReader, times: Sequence[float], *, max_side: int | None = None
) -> Iterator[tuple[int, Frame | None]]:
    """What ``VideoReader.frames_at`` gives, with every picture of the file decoded, also behind the last one.

    Only those that are wanted are turned into colours.

    Args:
        reader: open, nothing asked of it yet.
        times: seconds on the clock, in any order.
        max_side: shrink pictures whose longer side is above this many pixels.

    Raises:
        MediaError: ``limits.max_decode_s`` is used up.
        ArgumentError: a time is not finite.
    """
    wanted, most = wanted_times(times), longest_side(max_side)
    order = [int(i) for i in np.argsort(wanted, kind="stable")]
    track, origin = reader._pictures, reader._origin
    while track is not None:
        with reader._spent.working():
            if not track.step():
                break
            reader._spent.check_time()
            following = track.peek()
            end = float("inf") if following is None else following.time - origin
            due = [i for i in order if wanted[i] < end]
            order = order[len(due) :]
            shot = track.now
            there = due and shot is not None and shot.frame is not None
            frame = reader._frame(shot, most) if there and shot is not None else None
        yield from ((i, frame) for i in due)
    yield from ((i, None) for i in order)
