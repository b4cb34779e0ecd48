"""``VideoReader``: one file, one clock, pictures at times and sound in stretches, and what that cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import av.error
import numpy as np
from numpy.typing import NDArray

from avglance.errors import MediaError
from avglance.media.asked import check_stretch, known_times, longest_side, wanted_times
from avglance.media.deep import picture_crc
from avglance.media.frame import Frame
from avglance.media.header import Declared, describe, first_streams, no_content
from avglance.media.limits import Limits
from avglance.media.pictures import PictureTrack
from avglance.media.shots import Shot
from avglance.media.side import BESIDE, open_side
from avglance.media.sound import SoundPiece, SoundTrack
from avglance.media.source import close_quietly, open_media, opening_again, show
from avglance.media.spent import Spent
from avglance.media.tail import Ends, all_packets, true_ends
from avglance.media.upright import fit_inside, to_rgb
from avglance.types import MediaInfo, Reason

_FOREVER_S = 1e9
_JUMP_S = 1.0  # times this far outside the file are said to have jumped


class VideoReader:
    """A video or sound file on one clock: seconds from the earlier of its first picture and first sound.

    A context manager. Nothing is kept but the picture at hand: memory does not depend on the file's length.

    Args:
        path: a local file; its name is never taken as an option or an address.
        limits: what the file may declare or cost.
        audio_track: which of its sound tracks, from 0.
        audio_file: a file whose sound is heard in place of its own; ``beside``: the one of the same name
            (``x.wav`` beside ``x.mp4``) where it declares no sound; ``none``: never another file.
        threads: decoder threads, 0: as many as there are cores.
        apart: pictures far from each other are wanted: no thread decodes those behind them, for which the
            first would wait, and half of the cores are left to others.
        rough: leave out the codec's loop filter, which smooths the edges of blocks: quicker by 5 to 60 %,
            and the pictures are a little blocky.

    Raises:
        MediaError: nothing can be read from the file; its ``kind`` says why.
        ArgumentError: the file has sound tracks, but not that one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        limits: Limits | None = None,
        audio_track: int = 0,
        audio_file: str | os.PathLike[str] = BESIDE,
        threads: int = 0,
        rough: bool = False,
        apart: bool = False,
    ) -> None:
        self.path, self.limits = path, limits or Limits()
        self._spent = Spent(show(path), self.limits.max_decode_s)
        self._pictures: PictureTrack | None = None
        self._sounds: SoundTrack | None = None
        self._side: Path | None = None  # where the sound is, if not in the file itself
        try:
            with self._spent.working():
                self._open(audio_track, audio_file, threads, rough=rough, apart=apart)
        except BaseException:
            self.close()
            raise

    def _open(self, audio_track: int, audio_file: str | os.PathLike[str], threads: int, **how: bool) -> None:
        box = open_media(self.path, self.limits)
        try:
            declared = first_streams(box, audio_track, self._spent.where)
            side = open_side(self.path, audio_file, declared, self.limits, self._spent)
        except BaseException:
            box.close()
            raise
        for name in declared.unknown:
            which = "no_picture_decoded" if name == "pictures" else "no_sound_decoded"
            self._spent.note(which, f"the codec of the {name} is not known here")
        if declared.video_index is not None:
            needed = not side and declared.audio_index is not None
            again = opening_again(box, self.path, self.limits, beside=threads != 1) if needed else None
            try:
                self._pictures = PictureTrack(
                    box, declared.video_index, reopen=lambda: open_media(self.path, self.limits),
                    limits=self.limits, threads=threads, spent=self._spent, **how,
                )  # fmt: skip
            except BaseException:
                close_quietly(again)
                raise
            box = None if again is None else again()
        if side is not None:
            if box is not None:  # sound in place of sound
                box.close()
            self._side, box, held = side
            declared = replace(declared, audio_index=held.audio_index, tracks=held.tracks)
        if declared.audio_index is not None and box is not None:
            self._sounds = SoundTrack(box, box.streams[declared.audio_index], spent=self._spent)
        self._drop_empty()
        self._set_clock(declared)

    def _drop_empty(self) -> None:
        """Let go of declared tracks that give nothing; with none left the file has failed."""
        pictures, sounds = self._pictures, self._sounds
        no_picture = pictures is None or not pictures.found
        no_sound = sounds is None or not sounds.found
        if no_picture and no_sound:
            for reason in self._spent.reasons:
                if reason.kind == "limit":
                    hint = "raise Limits.max_memory_bytes if you trust the file"
                    raise MediaError(reason.text, kind="limit", where=self._spent.where, hint=hint)
            raise no_content(self.path, pictures, sounds, self.limits)
        if pictures is not None and no_picture:
            self._spent.note("no_picture_decoded", "the file declares pictures, but none can be decoded")
            pictures.close()
            self._pictures = None
        if sounds is not None and no_sound:
            text = "the file declares a sound track, but no sound can be decoded"
            self._spent.note("no_sound_decoded", text)
            sounds.close()
            self._sounds = None

    def _set_clock(self, declared: Declared) -> None:
        """Time 0: the earlier of first picture and first sound; a file beside begins with the pictures."""
        pictures, sounds = self._pictures, self._sounds
        of_file = [t for t in (pictures, None if self._side else sounds) if t is not None]
        self._origin = min((track.first_time for track in of_file), default=0.0)
        self._sound_origin = sounds.first_time if self._side and sounds is not None else self._origin
        ends = self._ends_of(of_file, self.path, self._origin)
        sound_ends = ends
        if self._side is not None and sounds is not None:
            sound_ends = self._ends_of([sounds], self._side, self._sound_origin)
        self.picture_span = _span(pictures, ends, self._origin)
        self.sound_span = _span(sounds, sound_ends, self._sound_origin)
        duration = max(span[1] for span in (self.picture_span, self.sound_span) if span is not None)
        if duration > self.limits.max_duration_s:
            what = f"lasts {duration / 3600:.1f} hours"
            hint = "raise Limits.max_duration_s if you trust the file"
            raise MediaError(what, kind="limit", where=self._spent.where, hint=hint)
        self.info: MediaInfo = describe(declared, pictures, sounds, duration, ends.sample)
        # reading may take as long as watching; opening has been free of the limit on a seek
        self._spent.limit_s = max(self.limits.max_decode_s, duration)
        self._spent.seek_limit_s = self.limits.max_seek_s

    def _ends_of(
        self, tracks: list[PictureTrack | SoundTrack], path: str | os.PathLike[str], origin: float
    ) -> Ends:
        """Where tracks of one file end; a file that ends before its header says is noted."""
        if not tracks:
            return Ends({}, None)
        ends = true_ends([track.stream for track in tracks], path, limits=self.limits, spent=self._spent)
        if ends.promised is not None:
            last, promised = max(ends.by_index.values()) - origin, ends.promised - origin
            self._spent.note("truncated", "the file ends before its header says", last, promised)
        return ends

    # ---- what was spent ----

    @property
    def frames_delivered(self) -> int:
        """Pictures handed out; one asked for several times in one call counts once."""
        return self._spent.frames_delivered

    @property
    def frames_decoded(self) -> int:
        """Coded pictures given to the decoder, those that a delivered one depends on among them."""
        return self._spent.frames_decoded

    @property
    def decode_s(self) -> float:
        """Seconds spent opening, seeking, decoding, converting and resampling."""
        return self._spent.seconds

    @property
    def reasons(self) -> list[Reason]:
        """Damage met so far, with spans on the clock."""
        self._note_losses()
        return list(self._spent.reasons)

    def _note_losses(self) -> None:
        pictures = ("damaged", "pictures are damaged or missing", "one picture is held")
        told: list[tuple[PictureTrack | SoundTrack | None, float, tuple[str, str, str]]]
        told = [(self._pictures, self._origin, pictures)]
        told += [(self._sounds, self._sound_origin, ("damaged_sound", "sound is damaged", "no sound"))]
        for track, origin, (kind, text, gap) in told:
            for start, end in track.lost if track is not None else ():
                self._spent.note(kind, text, *self._inside(start, end, origin))
            for start, end in sorted(track.gaps) if track is not None else ():
                self._spent.note("gap", gap, *self._inside(start, end, origin))

    def _inside(self, start: float, end: float, origin: float) -> tuple[float, float]:
        """A span of a stream on the clock, as far as it lies inside the file: damaged clocks say anything."""
        duration = self.info.duration_s
        if start - origin > duration + _JUMP_S or end - origin < -_JUMP_S:
            self._spent.note("clock_jump", "timestamps jump out of the file's duration")
        return min(max(start - origin, 0.0), duration), min(max(end - origin, 0.0), duration)

    # ---- pictures ----

    def frames_at(
        self, times: Sequence[float], *, max_side: int | None = None
    ) -> Iterator[tuple[int, Frame | None]]:
        """The pictures on the screen at ``times``, in one forward pass: (index into ``times``, picture).

        In the order of time, each decoded once. The picture at t is the last with ``time_s`` <= t; a t before
        the first by at most a frame gives the first. None: it is lost, they have not begun, or are over.

        Args:
            times: seconds on the clock, in any order.
            max_side: shrink pictures whose longer side is above this many pixels.

        Raises:
            MediaError: ``limits.max_decode_s`` is used up.
            ArgumentError: a time is not finite.
        """
        return self._frames(wanted_times(times), longest_side(max_side))

    def _frames(
        self, wanted: NDArray[np.float64], max_side: int | None
    ) -> Iterator[tuple[int, Frame | None]]:
        last: tuple[Shot, Frame | None] | None = None
        order = np.argsort(wanted, kind="stable")
        for i in order:
            later = int(np.searchsorted(wanted, wanted[i], "right", sorter=order))
            following = float(wanted[order[later]]) if later < order.size else None
            with self._spent.working():
                self._spent.check_time()
                shot = self._shot(float(wanted[i]), following)
                if shot is None or shot.frame is None:
                    frame = None
                elif last is not None and last[0] is shot:
                    frame = last[1]
                else:
                    frame = self._frame(shot, max_side)
                    last = (shot, frame)
            yield int(i), frame

    def _shot(self, time_s: float, following_s: float | None) -> Shot | None:
        if self._pictures is None:
            return None
        # the last picture wanted is looked up as if the next one lay far away
        following = _FOREVER_S if following_s is None else following_s + self._origin
        time_s = min(max(time_s, -_FOREVER_S), _FOREVER_S)  # beyond that no container can count
        return self._pictures.shot_at(time_s + self._origin, following)

    def _frame(self, shot: Shot, max_side: int | None) -> Frame | None:
        """The shot as a picture; None where its pixel format cannot be turned into RGB."""
        track = self._pictures
        assert track is not None  # shots come from it
        start, end = shot.time - self._origin, track.end_of(shot) - self._origin
        try:
            image = to_rgb(shot.frame, fit_inside(*track.size, max_side), track.turn, colours=track.colours)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            if not self._spent.note_memory(error):
                self._spent.note("damaged", "pictures cannot be turned into colours", start, end)
            return None
        self._spent.frames_delivered += 1
        return Frame(start, end, image)

    def timeline(self) -> Iterator[tuple[float, float, bool]]:
        """(start, end, whole) of every picture in order: all are decoded, none is converted.

        Raises:
            MediaError: ``limits.max_decode_s`` is used up.
        """
        track = self._pictures
        if track is None:
            return
        with self._spent.working():
            track.rewind()
        while True:
            with self._spent.working():
                if not track.step():
                    return
                shot = track.now
                track.peek()
            if shot is not None:
                start, end = self._inside(shot.time, track.end_of(shot), self._origin)
                yield start, end, shot.frame is not None

    def digests(self) -> Iterator[tuple[float, float, int | None]]:
        """(start, end, CRC-32 of its pixels as decoded) of every picture in order; None where it is lost.

        Raises:
            MediaError: ``limits.max_decode_s`` is used up.
        """
        for start, end, whole in self.timeline():
            crc = None
            if whole and self._pictures is not None and self._pictures.now is not None:
                with self._spent.working():
                    crc = picture_crc(self._pictures.now.frame)
            yield start, end, crc

    def packets(self) -> Iterator[tuple[float, float, bool, bool]]:
        """(start, end, is a picture, whole) of every packet, in the file's order; decodes nothing.

        Raises:
            MediaError: ``limits.max_decode_s`` is used up.
        """
        for path, tracks in self._files():
            going = all_packets(path, [t.stream.index for t in tracks], limits=self.limits, spent=self._spent)
            origin = self._origin if path is self.path else self._sound_origin
            picture = next((t.stream.index for t in tracks if t is self._pictures), -1)
            while True:
                with self._spent.working():
                    found = next(going, None)
                if found is None:
                    break
                index, start, end, whole = found
                yield *self._inside(start, end, origin), index == picture, whole

    def _files(self) -> list[tuple[str | os.PathLike[str], list[PictureTrack | SoundTrack]]]:
        """The files that are read, with their tracks."""
        pictures, sounds = self._pictures, self._sounds
        if self._side is None:
            return [(self.path, [t for t in (pictures, sounds) if t is not None])]
        found: list[tuple[str | os.PathLike[str], list[PictureTrack | SoundTrack]]] = []
        found += [] if pictures is None else [(self.path, [pictures])]
        return found if sounds is None else [*found, (self._side, [sounds])]

    def keyframes_near(self, times: Sequence[float]) -> list[float | None]:
        """Presentation times of the keyframes nearest to ``times``; costs seeks and packets, no decoding.

        Where a container has no index they are those at or before ``times``; None: none is known, because
        nothing can be sought (a stream without a container).

        Raises:
            MediaError: the file has no pictures (kind ``no_video``).
            ArgumentError: a time is not finite.
        """
        wanted = known_times(times, "keyframes_near")
        if self._pictures is None:
            what, hint = "the file has no pictures", "ask for sound, or name a file with pictures"
            raise MediaError(what, kind="no_video", where=self._spent.where, hint=hint)
        with self._spent.working():
            found = self._pictures.keyframes_near((wanted + self._origin).tolist())
        return [None if key is None else key - self._origin for key in found]

    # ---- sound ----

    def sound(self, start_s: float, end_s: float, *, rate_hz: int = 16_000) -> Iterator[SoundPiece]:
        """The sound in [start_s, end_s), mono, in pieces of about a second; only what is there.

        A gap or a late start shows as a piece with a later ``start_s``; a file without sound gives nothing.

        Raises:
            ArgumentError: ``rate_hz`` is below 1.
            MediaError: ``limits.max_decode_s`` is used up.
        """
        check_stretch(start_s, end_s, rate_hz)
        return self._sound(max(start_s, -_FOREVER_S), min(end_s, _FOREVER_S), rate_hz)

    def _sound(self, start_s: float, end_s: float, rate_hz: int) -> Iterator[SoundPiece]:
        if self._sounds is None:
            return
        pieces = self._sounds.pieces(start_s + self._sound_origin, end_s + self._sound_origin, rate_hz)
        while True:
            with self._spent.working():
                piece = next(pieces, None)
            if piece is None:
                return
            yield SoundPiece(piece.start_s - self._sound_origin, piece.samples)

    # ---- end ----

    def close(self) -> None:
        """Let go of the file and the decoders; safe to call twice."""
        if hasattr(self, "info"):
            self._note_losses()
        for track in (self._pictures, self._sounds):
            if track is not None:
                track.close()
        self._pictures = self._sounds = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _span(track: PictureTrack | SoundTrack | None, ends: Ends, origin: float) -> tuple[float, float] | None:
    """First to last of a track on the clock."""
    if track is None:
        return None
    return track.first_time - origin, max(ends.by_index[track.stream.index], track.first_time) - origin
