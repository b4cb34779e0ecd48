"""Opening one untrusted file: no protocols, no playlists, limits first, errors with a kind and advice."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import av.error

from avglance.errors import FailureKind, MediaError
from avglance.media.limits import Limits
from avglance.media.longmp4 import LongMp4, open_long
from avglance.media.mp4tables import NotPlain
from avglance.media.sniff import looks_truncated, sniff

# demuxers that read one file and open nothing else
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,f4v,mpegts,mpeg,mpegvideo,vob,h264,hevc,vvc,m4v,h263,h261,obu,ivf,av1,"
    "cavsvideo,vc1,dirac,ogg,ogv,mp3,mp2,wav,w64,aac,ac3,eac3,dts,truehd,flac,aiff,au,caf,amr,amrnb,amrwb,ape,tta,wv,tak,mpc,"
    "mpc8,dsf,voc,dv,mxf,gxf,nut,nsv,rm,wtv,gif,yuv4mpegpipe,film_cpk,smk,bink,roq,pva,ty,dhav"
)


def open_media(path: str | os.PathLike[str], limits: Limits) -> Any:
    """The open container of a local file (``av.container.InputContainer``), checked against ``limits``.

    Only the file itself is read: the protocol is fixed to ``file``, containers that name other files are not
    on the list, and the path is absolute, so that no name can be an option or an address.

    Raises:
        MediaError: with a kind of ``errors.FAILURE_KINDS`` and advice.
    """
    found = sniff(path)
    if found.kind is not None:
        raise MediaError(found.what, kind=found.kind, where=show(path), hint=found.hint)
    settings = _settings(limits)
    try:
        box = open_long(path, lambda file: av.open(file, **settings))
        if box is None:
            box = av.open("file:" + absolute(path), **settings)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError, UnicodeError) as error:
        raise _cannot_open(error, path, limits) from error
    try:
        check_limits(box, path, limits)
    except MediaError:
        box.close()
        raise
    return box


def opening_again(
    box: Any, path: str | os.PathLike[str], limits: Limits, *, beside: bool = False
) -> Callable[[], Any]:
    """What gives the file of an open container open once more; it is to be called once.

    It raises as ``open_media``. ``beside``: a thread opens it by then.
    """
    settings = _settings(limits)
    opened = box.again(lambda file: av.open(file, **settings)) if isinstance(box, LongMp4) else None

    def again() -> Any:
        if opened is not None:
            with suppress(NotPlain, av.error.FFmpegError, OSError, ValueError, MemoryError):
                return opened()
        return open_media(path, limits)

    if not beside:
        return again
    pool = ThreadPoolExecutor(1, "opening")
    coming = pool.submit(again)
    pool.shutdown(wait=False)
    return coming.result


def close_quietly(again: Callable[[], Any] | None) -> None:
    """Let go of what ``opening_again`` opens, where another error is told already."""
    if again is not None:
        with suppress(Exception):
            again().close()


def _settings(limits: Limits) -> dict[str, Any]:
    """How libav opens a file."""
    return {
        "options": {"max_pixels": limits.libav_pixels},
        "container_options": {
            "protocol_whitelist": "file",
            "format_whitelist": FORMATS,
            "max_streams": str(limits.max_streams + 1),
        },
        "metadata_errors": "replace",
        "timeout": limits.max_open_s,
    }


def check_limits(box: Any, path: str | os.PathLike[str], limits: Limits) -> None:
    """Compare what the header declares with the limits, before a decoder allocates anything.

    Raises:
        MediaError: of kind ``limit``; the text says which setting.
    """
    streams = list(box.streams)
    if len(streams) > limits.max_streams:
        raise _over(path, f"declares more than {limits.max_streams} streams", "max_streams")
    if box.duration and box.duration / av.time_base > limits.max_duration_s:
        raise _over(path, f"declares {box.duration / av.time_base / 3600:.0f} hours", "max_duration_s")
    for stream in streams:
        context = stream.codec_context
        if context is None:  # no decoder for it: nothing will be allocated
            continue
        if stream.type == "video":
            if context.width * context.height > limits.max_pixels:
                raise _over(path, f"declares pictures of {context.width}x{context.height}", "max_pixels")
            if stream.average_rate and stream.average_rate > limits.max_frame_rate:
                raise _over(
                    path, f"declares {float(stream.average_rate):.0f} pictures a second", "max_frame_rate"
                )
        elif stream.type == "audio" and (context.sample_rate or 0) > limits.max_rate_hz:
            raise _over(path, f"declares sound of {context.sample_rate} Hz", "max_rate_hz")


def _over(path: str | os.PathLike[str], what: str, setting: str) -> MediaError:
    return MediaError(
        what, kind="limit", where=show(path), hint=f"raise Limits.{setting} if you trust the file"
    )


def _cannot_open(error: BaseException, path: str | os.PathLike[str], limits: Limits) -> MediaError:
    kind: FailureKind = "not_media"
    what, hint = "not a media file that can be read", "check the file in a player; copy or download it again"
    if isinstance(error, av.error.ExitError):
        kind, what = "timeout", f"opening took longer than {limits.max_open_s:g} s"
        hint = "copy the file to a faster disk, or raise Limits.max_open_s"
    elif isinstance(error, (MemoryError, av.error.MemoryError)):
        kind, what = "limit", f"the header asks for too much memory or more than {limits.max_streams} streams"
        hint = "raise Limits.max_streams if you trust the file"
    elif getattr(error, "errno", None) == errno.EINVAL:
        kind, what = "unsupported", "a container that is not on the list of those read here"
        hint = "convert it to MP4 or Matroska"
    elif looks_truncated(path):
        kind, what = "truncated", "the file is cut off, or its header is damaged"
        hint = "copy or download it again; the original may still be whole"
    return MediaError(what, kind=kind, where=show(path), hint=hint)


def show(path: str | os.PathLike[str]) -> str:
    """The path as it may be printed: one line, no control characters, odd bytes escaped."""
    text = os.fspath(path)
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root; as it is where the working folder has gone."""
    try:
        return os.path.abspath(os.fsdecode(path))
    except OSError:
        return os.fsdecode(path)


def file_size(path: str | os.PathLike[str]) -> int:
    """Bytes of the file."""
    return Path(path).stat().st_size
