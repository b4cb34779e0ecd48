"""A view of video files: headers are read when it is made, the rest when a system asks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avglance.errors import ArgumentError, MediaError, ShapeError
from avglance.media import Opener
from avglance.types import Condition, MediaInfo, Reason
from avglance.views.onefile import FileSnippets, silent_mels
from avglance.views.pictures import crop_patches, resize, square_to_file
from avglance.views.view import ViewSettings, check_places


class FileView:
    """B files as a ``View``: only the frames and sound clips that are asked for are decoded, each once.

    A file that cannot be read has its error in ``errors``, times of 0 and nothing visible or audible; the
    others go on. Of a frame only the source square stays in memory (uint8), of a sound clip only the
    log-mel: memory grows with B and T, never with the length of a file. Use it as a context manager, or
    call ``close``.

    Args:
        paths: the files.
        settings: grid and sides.
        opener: what opens a file and reads it; None: ``VideoReader``.
        reading: ``limits``, ``audio_track``, ``audio_file`` and ``threads`` of ``VideoReader``.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        settings: ViewSettings,
        *,
        opener: Opener | None = None,
        **reading: Any,
    ) -> None:
        if isinstance(paths, (str, Path)):
            raise ArgumentError("paths must be a sequence of paths, got one path", where="FileView")
        self.paths = [Path(path) for path in paths]
        self.settings = settings
        self._opening: list[MediaError | None] = []
        self._files: list[FileSnippets | None] = []
        with ExitStack() as stack:
            for path in self.paths:
                file = self._open(path, opener, reading)
                if file is not None:
                    stack.callback(file.close)
                self._files.append(file)
            self._stack = stack.pop_all()

    def _open(self, path: Path, opener: Opener | None, reading: dict[str, Any]) -> FileSnippets | None:
        """The file, or None with its error noted."""
        error: MediaError | None = None
        file = None
        try:
            file = FileSnippets(path, self.settings, opener=opener, **reading)
        except MediaError as met:
            error = met
        except ArgumentError as met:  # a sound track that this file lacks: its fault alone, the others go on
            error = MediaError(met.what, kind="unsupported", where=met.where, hint=met.hint)
            error.__cause__ = met
        self._opening.append(error)
        return file

    def close(self) -> None:
        """Close the files; what was decoded stays."""
        self._stack.close()

    def __enter__(self) -> FileView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ the view

    def _column(self, name: str, missing: float | bool) -> NDArray[np.generic]:
        """An attribute of every file, shape (B, T)."""
        dull = np.full(self.settings.snippets, missing)
        rows = [dull if file is None else getattr(file, name) for file in self._files]
        return np.array(rows, dtype=dull.dtype).reshape(len(rows), self.settings.snippets)

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds at which snippets are looked at, shape (B, T)."""
        return self._column("times", 0.0).astype(np.float64)

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether a picture can be had, as far as is known by now, shape (B, T)."""
        return self._column("visible", False).astype(np.bool_)

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Whether sound can be had, as far as is known by now, shape (B, T)."""
        return self._column("audible", False).astype(np.bool_)

    @property
    def on_keyframes(self) -> NDArray[np.bool_]:
        """Which snippets are looked at where a keyframe was sought out for them, shape (B, T)."""
        return self._column("on_keyframes", False).astype(np.bool_)

    @property
    def levels_db(self) -> NDArray[np.float64]:
        """RMS dBFS of each sound clip asked for (not below -120), NaN where nothing was heard; (B, T)."""
        return self._column("levels_db", np.nan).astype(np.float64)

    def sounds(self, at: ArrayLike) -> NDArray[np.float32]:
        """Log-mels of the places, shape (n, 1, F, M); silence where nothing can be heard."""
        places = self._places(at)
        for file, snippets in self._by_file(places):
            file.hear(snippets)
        out = silent_mels(len(places))
        for row, (video, snippet) in enumerate(places.tolist()):
            file_ = self._files[video]
            mel = None if file_ is None else file_.mel(snippet)
            if mel is not None:
                out[row, 0] = mel
        return out

    def pictures(self, at: ArrayLike) -> NDArray[np.uint8]:
        """Glance pictures of the places, shape (n, 3, G, G); zeros where nothing can be seen."""
        places = self._places(at)
        side = self.settings.glance_side
        out = np.zeros((len(places), 3, side, side), dtype=np.uint8)
        for row, square in self._squares(places):
            out[row] = resize(square, side)
        return out

    def expect_pictures(self, at: ArrayLike) -> None:
        """Begin to decode the pictures of these places beside whatever else goes on; of one file alone.

        Of several files each has the others to wait for.
        """
        if len(self._files) == 1:
            for file, snippets in self._by_file(self._places(at)):
                file.expect(snippets)

    def patches(self, at: ArrayLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """Patches of the source squares, shape (n, 3, P, P), 0..255; zeros where nothing can be seen.

        Args:
            at: places (video, snippet), shape (n, 2).
            boxes: (x0, y0, x1, y1) as fractions of the source square, shape (n, 4).
        """
        places = self._places(at)
        corners = np.asarray(boxes, dtype=np.float64)
        if corners.shape != (len(places), 4) and not corners.size == len(places) == 0:
            raise ShapeError(
                f"boxes must be ({len(places)}, 4), got {corners.shape}", where="FileView.patches"
            )
        side = self.settings.patch_side
        out = np.zeros((len(places), 3, side, side), dtype=np.float32)
        for row, square in self._squares(places):
            out[row] = crop_patches(square[None], corners[row : row + 1], side)[0]
        return out

    def _places(self, at: ArrayLike) -> NDArray[np.int64]:
        return check_places(at, len(self._files), self.settings.snippets)

    def _by_file(self, places: NDArray[np.int64]) -> list[tuple[FileSnippets, list[int]]]:
        groups = []
        for video in np.unique(places[:, 0]).tolist():
            file = self._files[video]
            if file is not None:
                groups.append((file, places[places[:, 0] == video, 1].tolist()))
        return groups

    def _squares(self, places: NDArray[np.int64]) -> list[tuple[int, NDArray[np.uint8]]]:
        """The rows of ``places`` that can be seen, with their source squares."""
        for file, snippets in self._by_file(places):
            file.see(snippets)
        rows = ((row, self.square(video, snippet)) for row, (video, snippet) in enumerate(places.tolist()))
        return [(row, square) for row, square in rows if square is not None]

    # ------------------------------------------------------------------ what came, and what it cost

    def square(self, video: int, snippet: int) -> NDArray[np.uint8] | None:
        """The source square (3, S, S) that was delivered for a place, or None; decodes nothing."""
        file = self._files[video]
        return None if file is None else file.square(snippet)

    def box_px(self, video: int, box: ArrayLike) -> tuple[int, int, int, int]:
        """A box of the source square in pixels of the file's own upright picture, clipped to it.

        Raises:
            ArgumentError: the file has no pictures, or the box is not one.
        """
        media = self.infos[video]
        if media is None or media.width < 1 or media.height < 1:
            raise ArgumentError(f"video {video} has no pictures to draw a box on", where="FileView.box_px")
        return square_to_file(box, media.width, media.height, self.settings)

    @property
    def infos(self) -> list[MediaInfo | None]:
        """What each file is; None where it cannot be read."""
        return [None if file is None else file.info for file in self._files]

    @property
    def errors(self) -> list[MediaError | None]:
        """Why a file gave nothing at all; None where it can be read."""
        pairs = zip(self._opening, self._files, strict=True)
        return [error if file is None else file.failure for error, file in pairs]

    def condition(self, video: int) -> Condition:
        """In what state a file was found, judged by what was asked of it so far.

        ``coverage`` is the share of the snippets asked for of which everything came that was asked and that
        the file has a track for.
        """
        error, file = self.errors[video], self._files[video]
        if error is not None or file is None:
            reasons = () if error is None else (Reason(error.kind, error.what),)
            return Condition("failed", reasons, "absent", 0.0)
        return file.condition()

    @property
    def frames_delivered(self) -> NDArray[np.int64]:
        """Frames handed over by the decoder's reader, shape (B,)."""
        return self._counts("frames_delivered").astype(np.int64)

    @property
    def frames_decoded(self) -> NDArray[np.int64]:
        """Frames decoded, delivered or needed on the way, shape (B,)."""
        return self._counts("frames_decoded").astype(np.int64)

    @property
    def decode_s(self) -> NDArray[np.float64]:
        """Seconds waited for the reader (opening, seeking, decoding, resampling), shape (B,)."""
        return np.array([0.0 if file is None else file.decode_s for file in self._files])

    def _counts(self, name: str) -> NDArray[np.float64]:
        return np.array([0.0 if f is None else float(getattr(f.reader, name)) for f in self._files])
