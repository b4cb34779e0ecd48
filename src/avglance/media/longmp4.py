"""Long MP4 files in little memory: libav reads the header and decodes, the samples are looked up here.

The reader of MP4 in libav makes an index of every sample when a file is opened, about 40 bytes for each. For
files whose index is large, libav is given a short one (``mp4head``), enough for it to know the streams, and
packets are read by the file's own tables (``mp4tables``). ``LongMp4`` offers what this room uses of
``av.container.InputContainer``, and its packets are those that libav would give. Files whose tables are not
plain, and files where the two readings of the first samples differ, are left to libav.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import av
import av.error
from av.packet import PacketSideData

from avglance.media.longtrack import LongEntries, LongTrack, rescaled
from avglance.media.mp4head import HeadFile, Movie, Track, find_moov, read_movie, short_moov
from avglance.media.mp4tables import Bytes, NotPlain, need

LONG_INDEX = 512 << 10  # bytes of a ``moov`` above which a file counts as long: 8 to 20 minutes
HEAD_S = 12.0  # how much libav sees of each track
_HEAD_MOST = 20_000  # samples
_TRIED = 16  # packets of each track that are compared
_KEPT_MOST = 8 << 20  # bytes of packets in front of the edit
_ATTACHED = 0x0400  # libav's disposition bit of cover art
_SKIP_SAMPLES = 11  # AV_PKT_DATA_SKIP_SAMPLES
# codecs whose packets libav hands out as they lie in the file
_CODECS = frozenset({"h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1", "libdav1d", "aac", "opus", "flac"})
# what damaged tables and other versions of PyAV may lead to
_ODD = (OSError, ValueError, LookupError, OverflowError, TypeError, AttributeError)


@dataclass(frozen=True)
class Shown:
    """What libav is shown of a file: its short ``moov``, where that lies, and how many samples it has."""

    at: int
    moov: bytes
    counts: list[int]  # of each track


class LongStream:
    """A stream of libav's with another index: all else is asked of libav."""

    def __init__(self, box: LongMp4, track: LongTrack) -> None:
        self.container = box
        self.index_entries = LongEntries(track)
        self._stream = track.stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LongMp4:
    """An open MP4 file whose samples are looked up in the file; see the top of this file."""

    name = ""  # what libav calls the file: its address

    def __init__(self, source: Bytes, head: Any, tracks: dict[int, LongTrack], shown: Shown) -> None:
        self._source, self._head, self._tracks, self._shown = source, head, tracks, shown
        self.size = source.size  # bytes of the file
        self.streams = tuple(
            LongStream(self, tracks[s.index]) if s.index in tracks else s for s in head.streams
        )
        self._next = dict.fromkeys(tracks, 0)
        self._pad = dict.fromkeys(tracks, 0)
        self._open = True

    @property
    def format(self) -> Any:
        """The container's format, as libav knows it."""
        return self._head.format

    @property
    def duration(self) -> int | None:
        """Length in ticks of ``av.time_base``."""
        return self._head.duration  # type: ignore[no-any-return]

    @property
    def start_time(self) -> int | None:
        """Start in ticks of ``av.time_base``."""
        return self._head.start_time  # type: ignore[no-any-return]

    def seek(self, offset: int, *, backward: bool = True, stream: Any = None) -> None:
        """Go to the keyframe at or before a time, in ticks of the stream or of ``av.time_base``."""
        if not backward:
            raise ValueError("only a seek backward is known here")
        chosen = self._tracks[self._main() if stream is None else stream.index]
        if stream is None:
            offset = rescaled(offset, av.time_base, chosen.track.scale)
        found = chosen.seek(offset)
        reached = chosen.timestamp(found)
        for i, track in self._tracks.items():
            if track is not chosen:
                found_here = track.seek(rescaled(reached, chosen.track.scale, track.track.scale))
            self._next[i] = found if track is chosen else found_here
            self._pad[i] = track.padding(self._next[i])
        for each in self._head.streams:
            if each.codec_context is not None:
                each.codec_context.flush_buffers()

    def _main(self) -> int:
        """The stream that a seek without one is for."""
        return min(self._tracks, key=lambda i: (self._tracks[i].stream.type != "video", i))

    def demux(self, *streams: Any) -> Iterator[Any]:
        """Packets of these streams (none named: of all), in libav's order, to the end of the file."""
        wanted = [self._tracks[s.index] for s in streams] if streams else list(self._tracks.values())
        while self._open and (track := self._following(wanted)) is not None:
            index = track.index
            entry = self._next[index]
            self._next[index] = entry + 1
            packet = self._packet(track, entry)
            if packet is None:
                return
            yield packet

    def _following(self, tracks: list[LongTrack]) -> LongTrack | None:
        """The stream whose sample comes next: by place in the file, unless times differ by over a second."""
        best: LongTrack | None = None
        best_place = best_time = 0
        for track in tracks:
            entry = self._next[track.index]
            if entry >= track.count:
                continue
            if len(tracks) == 1:
                return track
            place, _, dts, _, _, _ = track.row(entry)
            time = rescaled(dts, track.track.scale, av.time_base)
            near = abs(best_time - time) <= av.time_base
            if best is None or (place < best_place if near else time < best_time):
                best, best_place, best_time = track, place, time
        return best

    def _packet(self, track: LongTrack, entry: int) -> Any | None:
        """The packet of an entry; None where the file ends before it."""
        pad, self._pad[track.index] = self._pad[track.index], 0
        if entry in track.kept:
            return _with_padding(track.kept[entry], pad)
        place, size, dts, pts, duration, key = track.row(entry)
        try:
            held = self._source.some(place, size)
        except OSError:  # a disk that fails: nothing more can be read
            return None
        if not held:
            return None
        packet = av.Packet(len(held))  # libav's own memory: decoders read a little beyond the end
        packet.update(held)
        packet.stream, packet.time_base = track.stream, track.stream.time_base
        packet.dts, packet.pts, packet.duration = dts, pts, duration
        packet.is_keyframe, packet.is_corrupt = key, len(held) < size
        return _with_padding(packet, pad)

    def again(self, open_head: Callable[[Any], Any]) -> Callable[[], LongMp4]:
        """What opens the same file once more, in another thread if need be: its tables are looked at once.

        Call what comes back: it holds the file. It raises what libav raises, or ``NotPlain``.
        """
        source, tracks, shown, name = self._source.held(), dict(self._tracks), self._shown, self.name

        def opened() -> LongMp4:
            try:
                head = open_head(HeadFile(source, shown.at, shown.moov))
                try:
                    beside = {i: track.beside(head.streams[i]) for i, track in tracks.items()}
                    box = LongMp4(source, head, beside, shown)
                    box.learn()
                except BaseException:
                    head.close()
                    raise
            except BaseException:
                source.close()
                raise
            box.name = name
            return box

        return opened

    def learn(self) -> None:
        """Keep what only libav can tell of the first packets, and compare some more with those read here."""
        heads = self._shown.counts
        left = {
            i: min(max(max(track.discards, default=0) + 1, _TRIED), heads[i] - 1)
            for i, track in self._tracks.items()
        }
        seen = dict.fromkeys(left, 0)
        size = 0
        for theirs in self._head.demux([track.stream for track in self._tracks.values()]):
            i = theirs.stream_index
            if not theirs.size or seen[i] >= left[i]:
                if all(seen[i] >= left[i] for i in left):
                    break
                continue
            entry, seen[i] = seen[i], seen[i] + 1
            track = self._tracks[i]
            if entry == 0 and theirs.has_sidedata("skip_samples"):
                (track.skip,) = struct.unpack_from("<I", bytes(theirs.get_sidedata("skip_samples")))
            mine = self._packet(track, entry)
            need(mine is not None and _alike(mine, theirs), "libav's packets differ")
            if entry in track.discards:
                track.kept[entry] = theirs
                size += theirs.size
                need(size <= _KEPT_MOST, "an edit that begins late")
        need(all(track.discards <= track.kept.keys() for track in self._tracks.values()), "a head cut off")
        self._pad = {i: track.skip for i, track in self._tracks.items()}
        _with_padding(av.Packet(1), 1)  # where this version of PyAV cannot do that, it fails here

    def close(self) -> None:
        """Let go of the file and the decoders; safe to call twice."""
        if not self._open:
            return
        self._open = False
        self.streams = ()  # they know this box: nothing is to keep the other alive
        self._tracks = {}
        self._head.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _with_padding(packet: Any, pad: int) -> Any:
    """The packet, with a word to the decoder to drop ``pad`` samples from here on."""
    if pad:
        side = PacketSideData(_SKIP_SAMPLES, 10)  # type: ignore[call-arg]
        side.update(struct.pack("<IIBB", pad, 0, 0, 0))
        packet.set_sidedata(side)
    return packet


def _alike(mine: Any, theirs: Any) -> bool:
    names = ("pts", "dts", "duration", "size", "is_keyframe")
    same = all(getattr(mine, name) == getattr(theirs, name) for name in names)
    return same and bytes(mine) == bytes(theirs)


def _head_count(track: Track) -> int:
    """How many samples of a track libav is shown: what comes before the edit, and ``HEAD_S`` from there."""
    if track.table is None:
        return 0
    start = track.edit[1] if track.edit else 0
    first, last = (track.table.clock.find(start + round(s * track.scale)) for s in (0.0, HEAD_S))
    count = min(max(first + 2 * _TRIED, last + 1), track.table.count)
    need(count <= _HEAD_MOST, "an edit that begins late")
    return count


def _plays(stream: Any) -> bool:
    return stream.type in ("video", "audio") and not int(stream.disposition) & _ATTACHED


def _build(source: Bytes, movie: Movie, open_head: Callable[[Any], Any]) -> LongMp4:
    """The container of a plain file."""
    counts = [_head_count(track) for track in movie.tracks]
    shown = Shown(movie.box.start, short_moov(source, movie, counts), counts)
    head = open_head(HeadFile(source, shown.at, shown.moov))
    try:
        need(head.format.name.startswith("mov") and len(head.streams) >= len(movie.tracks), "no MP4 to libav")
        tracks: dict[int, LongTrack] = {}
        for stream, track, count in zip(head.streams, movie.tracks, counts, strict=False):
            table = track.table
            if table is None or track.handler not in (b"vide", b"soun"):
                continue
            context = stream.codec_context
            need(context is not None and context.name in _CODECS, "a codec that is left to libav")
            need(stream.frames == table.count, "libav counts other samples")
            need(stream.time_base.denominator == track.scale, "libav counts other ticks")
            tracks[stream.index] = LongTrack(stream, track, table, movie.scale, count)
            tracks[stream.index].survey()
        box = LongMp4(source, head, tracks, shown)
        need(len(tracks) > 0, "no track")
        # libav takes what a track is from its description, not from its handler
        need(all(s.index in tracks for s in head.streams if _plays(s)), "a track that only libav knows")
        box.learn()
        return box
    except BaseException:
        head.close()
        raise


def open_long(path: str | os.PathLike[str], open_head: Callable[[Any], Any]) -> LongMp4 | None:
    """The open container of an MP4 file with a long index; None: libav is to open the file itself.

    ``open_head`` opens a file object with libav.
    """
    try:
        source = Bytes(path)
    except OSError:
        return None
    try:
        moov = find_moov(source)
        need(moov.end - moov.start > LONG_INDEX, "short")
        box = _build(source, read_movie(source, moov), open_head)
    except (NotPlain, av.error.FFmpegError, struct.error, *_ODD):
        source.close()
        return None
    box.name = "file:" + os.path.abspath(os.fspath(path))
    return box
