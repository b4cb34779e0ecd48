"""Decoded clips: each is read once and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avglance.data.glanceworld_sound import RATE_HZ
from avglance.data.splice_script import Look, Script, Take, frames_of
from avglance.data.splice_settings import Splice
from avglance.data.splice_sources import Clip
from avglance.errors import DataError, MediaError
from avglance.media import VideoReader
from avglance.media.planes import to_planes

KEEP_BYTES = (
    1 << 30
)  # of one process; eight seconds of a clip are 12 MB at 320x240 and 12.5 pictures a second
MAX_SIDE_PX = 2048  # of a picture before it is scaled


class Reel:
    """The pictures and sounds of clips at the rate and size of what is written.

    Args:
        settings: of the splice.
        keep_bytes: what may be kept; the clip that was asked for longest ago goes first.
    """

    def __init__(self, settings: Splice, keep_bytes: int = KEEP_BYTES) -> None:
        self._settings, self._keep_bytes = settings, keep_bytes
        self._held: OrderedDict[tuple[str, str, float], NDArray[np.generic]] = OrderedDict()
        self._bytes = 0

    def pictures(self, script: Script) -> Iterator[NDArray[np.uint8]]:
        """Every picture of a video, as planes."""
        for piece in script.pieces:
            found = self._pictures_of(piece.seen.clip)
            some = found[piece.seen.first : piece.seen.first + piece.last - piece.first]
            look = piece.seen.look
            yield from some if look is None else (vary_planes(picture, look) for picture in some)

    def sound(self, take: Take) -> NDArray[np.float32]:
        """The whole sound of a take's clip, from its first second on, shape (n,)."""
        key = ("sound", str(take.clip.path), take.clip.start_s)
        if key not in self._held:
            self._keep(key, _read_sound(take.clip))
        self._held.move_to_end(key)
        return self._held[key]  # type: ignore[return-value]  # what is kept under "sound"

    def _pictures_of(self, clip: Clip) -> NDArray[np.uint8]:
        key = ("pictures", str(clip.path), clip.start_s)
        if key not in self._held:
            self._keep(key, _read_pictures(clip, self._settings))
        self._held.move_to_end(key)
        return self._held[key]  # type: ignore[return-value]  # what is kept under "pictures"

    def _keep(self, key: tuple[str, str, float], array: NDArray[np.generic]) -> None:
        self._held[key] = array
        self._bytes += array.nbytes
        while self._bytes > self._keep_bytes and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes


def vary_planes(planes: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """A picture as it looks in one video, planes (H * 3 / 2, W) as ``to_planes`` gives them."""
    high, wide = planes.shape[0] * 2 // 3, planes.shape[1]
    half = planes[high:].reshape(2, high // 2, wide // 2)
    grey = _part(planes[:high], look).astype(np.float32)
    colours = np.stack([_part(plane, look) for plane in half]).astype(np.float32)
    grey = np.clip((grey - 126) * look.contrast + 126 + look.light, 16, 235)
    colours = np.clip((colours - 128) * look.colour + 128, 16, 240)
    both = np.concatenate([grey.ravel(), colours.ravel()])
    return np.asarray(np.rint(both), np.uint8).reshape(planes.shape)


def _part(plane: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """What is seen of a plane, as large as all of it."""
    high, wide = plane.shape
    left, top, right, bottom = look.box
    box = (left * wide, top * high, right * wide, bottom * high)
    seen = np.asarray(Image.fromarray(plane).resize((wide, high), Image.Resampling.BILINEAR, box=box))
    return seen[:, ::-1] if look.mirrored else seen


def _read_pictures(clip: Clip, settings: Splice) -> NDArray[np.uint8]:
    """The pictures at every 1 / fps, shape (n, H * 3 / 2, W); a lost one is the one before it."""
    width, height = settings.size
    found: list[NDArray[np.uint8]] = []
    times = [clip.start_s + n / settings.fps for n in range(frames_of(clip, settings.fps))]
    try:
        with VideoReader(clip.path, threads=1) as reader:
            last = None
            for _, frame in reader.frames_at(times, max_side=MAX_SIDE_PX):
                if frame is not None and (last is None or frame.time_s != last):
                    found.append(to_planes(frame.image, width, height))
                    last = frame.time_s
                elif found:
                    found.append(found[-1])
    except MediaError as error:
        raise DataError(f"{clip.name}: {error.what}", where=clip.where, hint=error.hint) from error
    if not found:
        raise DataError(f"no picture of {clip.name} can be decoded", where=clip.where, hint="remove the row")
    return np.stack([*([found[0]] * (len(times) - len(found))), *found])


def _read_sound(clip: Clip) -> NDArray[np.float32]:
    wave = np.zeros(round((clip.end_s - clip.start_s) * RATE_HZ), np.float32)
    try:
        with VideoReader(clip.path, threads=1) as reader:
            for piece in reader.sound(clip.start_s, clip.end_s, rate_hz=RATE_HZ):
                at = max(0, round((piece.start_s - clip.start_s) * RATE_HZ))
                room = wave[at : at + piece.samples.size]
                room[:] = piece.samples[: room.size]
    except MediaError as error:
        raise DataError(f"{clip.name}: {error.what}", where=clip.where, hint=error.hint) from error
    return wave
