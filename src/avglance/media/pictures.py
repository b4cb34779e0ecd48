"""The picture track of one file: what stands on the screen at a time, found with the fewest seeks.

Times in this file are the stream's own seconds; ``reader`` moves them to the clock of the presentation.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av.error

from avglance.media.limits import Limits
from avglance.media.shots import EPS_S, Shot, ShotSource, read_packets, stamp_of
from avglance.media.spent import Spans, Spent
from avglance.media.upright import Colours, Turn, square_size, turn_of

_LONG_S = 60.0
_SPARE_STEPS = 2.0  # pictures so close before the one wanted are decoded even if nothing needs them
# containers whose index, once it goes beyond a time, names all keyframes up to there
_FULL_INDEX = ("mov", "matroska", "avi")


class PictureTrack:
    """One video stream of an open container; it owns the container.

    ``now`` is the shot at hand, None before the first; pictures are decoded one after another from there,
    and a seek is made only where a keyframe lies between it and what is wanted.
    """

    def __init__(
        self,
        box: Any,
        index: int,
        *,
        reopen: Callable[[], Any],
        limits: Limits,
        threads: int,
        spent: Spent,
        rough: bool = False,
        apart: bool = False,
    ) -> None:
        self.index, self._reopen, self._spent = index, reopen, spent
        self._limits, self._threads, self._rough, self._apart = limits, threads, rough, apart
        self.colours = Colours()  # for the frames of its shots
        self._spares = True  # whether pictures that no other needs are left out on the way to what is wanted
        spent.look_for_breaks(box)
        self._attach(box)
        self.lost = Spans()
        self.gaps = Spans()  # where one picture stands for more than a minute
        self.now: Shot | None = None
        self._next: Shot | None = None
        self._shots: Iterator[Shot] = self._source.shots()
        first = good = self.peek()
        while good is not None and good.frame is None:  # the beginning may be damaged
            self.step()
            good = self.peek()
        self.found = good is not None
        self.first_time = first.time if first is not None else 0.0
        self.turn = turn_of(good.frame) if good is not None else Turn()
        shape = good.frame if good is not None and good.frame is not None else self.stream.codec_context
        aspect = self.stream.sample_aspect_ratio
        self.size = square_size(
            shape.width, shape.height, float(aspect) if aspect else None, limits.max_pixels
        )

    def _attach(self, box: Any) -> None:
        """Decode from this open container, which stands at its start."""
        self.box, self.stream = box, box.streams[self.index]
        codec = self.stream.codec_context
        codec.thread_count = self._threads or self._apart * max((os.cpu_count() or 2) // 2, 1)
        codec.thread_type = "SLICE" if self._apart else "AUTO"
        codec.options = {**codec.options, "max_pixels": self._limits.libav_pixels}
        if self._rough:
            codec.options = {**codec.options, "skip_loop_filter": "all"}
        self._source = ShotSource(box, self.stream, self._spent)

    @property
    def packets(self) -> int:
        """How many whole packets went to the decoder."""
        return self._source.packets

    @property
    def too_large(self) -> bool:
        """Whether the pictures have no size that is allowed: a declared one above the limit is taken away."""
        codec = self.stream.codec_context
        return self._source.too_large or not codec.width or not codec.height

    # ---- one after another ----

    def peek(self) -> Shot | None:
        """The shot after ``now``, decoded when it is asked for; None at the end."""
        if self._next is None:
            self._next = next(self._shots, None)
        return self._next

    def step(self) -> bool:
        """Go on to the next shot; False at the end (``now`` is then the last one)."""
        following = self.peek()
        if self.now is not None:
            if following is not None:
                self.now.duration = following.time - self.now.time
                if self.now.duration > _LONG_S and self.now.frame is not None:
                    self.gaps.add(self.now.time, following.time)
            if self.now.frame is None:
                self.lost.add(self.now.time, self.now.time + self.now.duration)
        if following is None:
            return False
        self.now, self._next = following, None
        return True

    def rewind(self) -> None:
        """Go to the start, unless nothing but the first picture was decoded yet."""
        if self.now is not None or self._next is None:
            self._seek_start()

    def end_of(self, shot: Shot) -> float:
        """Where a shot ends, as far as that is known without decoding further."""
        if shot is self.now and self._next is not None:
            return self._next.time
        return shot.time + shot.duration

    # ---- at a time ----

    def shot_at(self, time: float, following: float | None = None) -> Shot | None:
        """What stands on the screen at ``time``; None: before the first or after the last picture.

        ``following`` is the next time that will be asked for: where it lies beyond another keyframe, a
        keyframe that is wanted exactly is decoded alone.
        """
        if time < self.first_time - self._source.step_s - EPS_S:
            return None
        time = max(time, self.first_time)
        source = self._source
        if self._spares:
            source.spare_before, source.spared_s = time - _SPARE_STEPS * source.step_s, float("-inf")
        self._go_to(time, following)
        self._step_to(time)
        self._source.spare_before = float("-inf")
        if self.now is not None and self.now.time < self._source.spared_s - EPS_S:
            self._spares = (
                False  # pictures are held longer than the rate says: one that is wanted was left out
            )
            self._source.spared_s = float("-inf")
            self._reach(time, following)
            self._step_to(time)
        shot = self.now
        if shot is None or shot.time > time + EPS_S:
            return None
        if shot.frame is None:
            self.peek()
            self.lost.add(shot.time, self.end_of(shot))
        beyond = shot.time < time - EPS_S and self._next is None and time >= shot.time + shot.duration - EPS_S
        return None if beyond else shot

    def _step_to(self, time: float) -> None:
        """Step on to the last shot that begins by ``time``."""
        while self.now is None or self.now.time < time - EPS_S:
            coming = self.peek()
            if coming is None or coming.time > time + EPS_S:
                break
            self.step()

    def _go_to(self, time: float, following: float | None) -> None:
        """Seek where a keyframe lies between here and ``time``, or where ``time`` has passed."""
        here = self.now or self._next
        if here is not None and abs(here.time - time) < EPS_S:
            return
        if here is not None and time >= here.time and not self._worth_seeking(time):
            return
        self._reach(time, following)

    def _reach(self, time: float, following: float | None) -> None:
        """Go to where ``time`` can be stepped to from; seeks further back where that was not far enough."""
        back = 0.0
        while True:
            target = time - back
            at_start = self._source.raw or target <= self.first_time
            alone = (
                time if back == 0.0 and following is not None and self._beyond_key(time, following) else None
            )
            if at_start:
                self._seek_start()
            elif self._seek(target, alone):
                coming = self.peek()
                if coming is not None and coming.time <= time + EPS_S:
                    return
            if at_start:
                return
            back = max(2 * back, self._source.gop_s, 1.0)

    def _ticks(self, time: float) -> int:
        return math.floor(time / self._source.tick + 0.01)

    def _seek(self, time: float, alone: float | None = None) -> bool:
        """Go to the keyframe at or before ``time``, if the container can tell; False: it cannot seek."""
        try:
            breaks = self._spent.breaks_of(self.box)
            stamp = time if breaks is None else breaks.stamp(time)
            self.box.seek(self._ticks(stamp), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        self._restart(wait=True, alone=alone)
        return True

    def _seek_start(self) -> None:
        """Go to the first picture: by a seek, or where that does not lead there by opening the file again."""
        start = self.stream.start_time
        if not self._source.raw:
            for ts in (start if start is not None else self._ticks(self.first_time), 0):
                try:
                    self.box.seek(ts, stream=self.stream, backward=True)
                except av.error.FFmpegError:
                    continue
                self._restart(wait=False)
                coming = self.peek()
                if coming is not None and coming.time <= self.first_time + EPS_S:
                    return
        self.now = self._next = None
        self._shots = iter(())
        self.box.close()
        self._attach(self._reopen())
        self._shots = self._source.shots()

    def _restart(self, *, wait: bool, alone: float | None = None) -> None:
        self.now = self._next = None
        self._source.restart(wait=wait, alone=alone)
        self._shots = self._source.shots()

    def _worth_seeking(self, time: float) -> bool:
        source = self._source
        if source.detached:
            return True
        here = self._next or self.now
        if source.raw or here is None or time <= here.time + source.step_s:
            return False
        key = self._index_key(time)
        if key is not None and (key > source.sent_s + EPS_S or self._index_tells(time)):
            return key > source.sent_s + EPS_S
        return time - here.time > 1.5 * source.gop_s

    def _beyond_key(self, time: float, following: float) -> bool:
        """Whether another keyframe lies after ``time`` and at or before ``following``."""
        key, later = self._index_key(time), self._index_key(following)
        if key is not None and later is not None and self._index_tells(following):
            return later > key + EPS_S
        return following - time > 1.5 * self._source.gop_s

    # ---- keyframes ----

    def _index_tells(self, time: float) -> bool:
        """Whether the index names the keyframes around ``time``: the whole of it is there, or goes beyond.

        Matroska's is read at the first seek, or grows as the file is read, as that of a fragmented MP4 does.
        """
        name, entries = self.box.format.name, self.stream.index_entries
        if name.startswith("mov"):
            return bool(self.stream.frames) and len(entries) >= self.stream.frames
        if not name.startswith(_FULL_INDEX) or not len(entries):
            return False
        return bool(entries[len(entries) - 1].timestamp * self._source.tick > time)

    def _index_key(self, time: float) -> float | None:
        """The index's time (decode time in MP4) of the keyframe at or before ``time``; None: unknown."""
        entries, tick = self.stream.index_entries, self._source.tick
        if not len(entries):
            return None
        last = entries[len(entries) - 1].timestamp * tick
        if last + 2 * self._source.gop_s + 10.0 < time:  # the index stops early
            return None
        found = entries.search_timestamp(self._ticks(time - self._delay()), backward=True)
        return None if found < 0 else float(entries[found].timestamp * tick)

    def _delay(self) -> float:
        """Presentation minus index time of keyframes: containers that index decode times need it."""
        return self._source.key_delay_s if self.box.format.name.startswith("mov") else 0.0

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        """The presentation times of the keyframes nearest to ``times``; None: the stream cannot be sought.

        Where no index tells what comes, it is the keyframe that a seek reaches: the one before, as a rule.
        """
        if self._source.raw:
            return [None] * len(times)
        known: dict[float, float] = {}  # where the index puts a keyframe -> where it truly is
        return [self._keyframe_near(time, known) for time in times]

    def _keyframe_near(self, time: float, known: dict[float, float]) -> float:
        if self._index_tells(time):
            found, near = list[float](), self._index_around(time) or [self.first_time]
            claimed = [min(near, key=lambda key: abs(key - time))]
        else:
            found = [self._key_at(time)]  # the seek may bring the index along
            claimed = [key for key in self._index_around(time) if key > found[0] + EPS_S]
        for key in claimed:
            if key not in known:
                known[key] = self._key_at(key)
            found.append(known[key])
        return min(found, key=lambda key: abs(key - time))

    def _index_around(self, time: float) -> list[float]:
        """Where the index puts the last keyframe at or before ``time`` and the first one after it."""
        entries, wanted, found = self.stream.index_entries, self._ticks(time - self._delay()), list[float]()
        for ticks, backward in ((wanted, True), (wanted + 1, False)):
            at = entries.search_timestamp(ticks, backward=backward) if len(entries) else -1
            if at >= 0:
                found.append(float(entries[at].timestamp * self._source.tick + self._delay()))
        return found

    def _key_at(self, time: float) -> float:
        """The presentation time of the keyframe that a seek to ``time`` reaches."""
        if time <= self.first_time or not self._seek(time):
            return self.first_time
        key = self.first_time
        for packet in read_packets(self.box, self.stream, self._spent):
            if packet is None:
                break
            stamp = stamp_of(packet, ordered=self._source.ordered)
            if packet.is_keyframe and stamp is not None:
                key = max(float(stamp * self._source.tick), self.first_time)
                break
        self._restart(wait=True)
        self._source.detached = True
        return key

    def close(self) -> None:
        """Let go of the frames, the decoder's threads and the file."""
        self.now = self._next = None
        self._shots = iter(())
        self.box.close()
