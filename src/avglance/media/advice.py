"""What a person can do about a file that is not ok: plain sentences, and commands for a POSIX shell.

Each command here mends the damage it is given for, as the tests show where there is an ``ffmpeg`` to run.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from avglance.types import Failure, MediaInfo, Reason

if TYPE_CHECKING:
    from avglance.media.check import CheckReport

# codecs that an MP4 file takes as they are
_MP4_PICTURES = frozenset(
    {"h264", "hevc", "mpeg4", "av1", "libdav1d", "libaom-av1", "vp9", "libvpx-vp9", "mpeg2video"}
)
_MP4_SOUND = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac"})
_TAIL_S = 0.6  # damage that begins no earlier than this before a cut belongs to the cut
_UNKNOWN = "not known here"  # in the text about a codec that nothing here decodes
_SOUND_AS_AAC = ("-c:a", "aac", "-af", "aresample=async=1")  # a gap becomes silence, so nothing moves
_PICTURES_AS_H264 = ("-c:v", "libx264", "-crf", "18")
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 has even sizes only


def advise(report: CheckReport) -> tuple[str, ...]:
    """What to do about a file, line by line; nothing for one that is ok.

    A line that begins with ``ffmpeg`` or ``chmod`` is a command. Commands write a new file beside the old one
    and never touch the old one.
    """
    if report.failure is not None:
        lines = _of_failure(report.failure, report.video)
    elif report.info is not None and report.condition.verdict != "ok":
        lines = _of_damage(report.video, report.info, report.condition.reasons)
    else:
        lines = []
    needs_name = any(line.startswith(("ffmpeg ", "chmod ")) for line in lines)
    if needs_name and not _typeable(report.video):
        rename = "rename the file first, its name cannot be typed; INPUT stands for it:"
        return (rename, *lines)
    return tuple(lines)


def _of_failure(failure: Failure, video: str) -> list[str]:
    kind, message = failure.kind, failure.message
    if setting := re.search(r"Limits\.(\w+)", failure.hint):
        return [f"on the command line: --limit {setting[1]}=VALUE"]
    if kind == "permission":
        return ["if the file is yours:", f"chmod u+r {shlex.quote(_name(video))}"]
    if kind == "truncated" and "header" in message and "only" not in message:
        lost = "no ffmpeg command can mend it: without its index or header nothing in it can be found"
        return [
            lost,
            "for MP4 and MOV there are tools that rebuild the index from a whole file of that camera",
        ]
    if kind == "unsupported" and "encrypted" in message:
        return ["no command can mend an encrypted file: ask whoever made it for one without protection"]
    if kind == "unsupported" and _UNKNOWN in message:
        command = _ffmpeg(video, (*_PICTURES_AS_H264, "-c:a", "aac"), ".mp4")
        return ["if your ffmpeg knows the codecs, this makes a file that can be read:", command]
    return []


def _of_damage(video: str, info: MediaInfo, reasons: Sequence[Reason]) -> list[str]:
    kinds = {reason.kind for reason in reasons}
    if "timeout" in kinds:
        return ["--limit max_decode_s=SECONDS gives it longer; --quick reads it without decoding"]
    unknown = [r for r in reasons if _UNKNOWN in r.text]
    if unknown:
        command = _ffmpeg(video, (*_PICTURES_AS_H264, *_SOUND_AS_AAC), ".mp4")
        return ["if your ffmpeg knows the codec, this makes a file that can be read whole:", command]
    lines: list[str] = []
    if any(reason.kind == "side_sound" for reason in reasons):  # the file holds no sound of its own
        if "damaged_sound" in kinds:
            lines.append("the damaged sound is that of the other file: check that one")
        info = replace(info, audio_tracks=())
        reasons = [reason for reason in reasons if reason.kind != "damaged_sound"]
    if "no_picture_decoded" in kinds:
        lines.append("the pictures cannot be brought back; this keeps the sound alone:")
    if "no_sound_decoded" in kinds:
        lines.append("the sound cannot be brought back; this keeps the pictures alone:")
    again = _sound_again if not info.has_video else _pictures_again
    told, command = again(video, info, reasons)
    if command and not lines:
        lines.append(told)
    return [*lines, command] if command else lines


def _pictures_again(video: str, info: MediaInfo, reasons: Sequence[Reason]) -> tuple[str, str]:
    """What a command does, and the command: the cheapest that mends pictures and sound alike."""
    kinds = {reason.kind for reason in reasons}
    sound = _SOUND_AS_AAC if info.has_audio else ()
    if kinds == {"clock_jump"} and info.container == "mpegts":
        told = "this joins the clocks of the transport stream, and encodes nothing anew:"
        return told, _ffmpeg(video, (*_maps(info), "-c", "copy"), _suffix(info))
    if "clock_jump" in kinds and info.frame_rate:
        rate = f"{info.frame_rate:.6g}"
        filters = (f"setpts=N/{rate}/TB", *_even(info))
        counted = ("-c:a", "aac", "-af", "asetpts=N/SR/TB") if info.has_audio else ()
        wanted = (*_maps(info), "-vf", ",".join(filters), *_PICTURES_AS_H264, *counted)
        return f"this counts the time anew, {rate} pictures a second:", _ffmpeg(video, wanted, ".mp4")
    if _tail_only(reasons):
        return _whole_part(video, info, reasons)
    if kinds & {"damaged", "clock_jump", "unstable"}:
        shape = tuple(word for part in _even(info) for word in ("-vf", part))
        wanted = (*_maps(info), *shape, *_PICTURES_AS_H264, *sound)
        told = "what is lost stays lost; this makes a file that plays past it (it encodes everything anew):"
        return told, _ffmpeg(video, wanted, ".mp4")
    if "damaged_sound" in kinds:
        wanted = (*_maps(info), "-c:v", "copy", *sound)
        told = "this makes silence of the sound that is lost, and leaves the pictures as they are:"
        return told, _ffmpeg(video, wanted, _suffix(info, sound_too=False))
    if kinds & {"truncated", "no_sound_decoded"}:
        return _whole_part(video, info, reasons)
    return "", ""


def _sound_again(video: str, info: MediaInfo, reasons: Sequence[Reason]) -> tuple[str, str]:
    """The same for a file whose only content is sound."""
    kinds = {reason.kind for reason in reasons}
    if "damaged_sound" in kinds and not _tail_only(reasons):
        told = "this makes silence of the sound that is lost (it encodes everything anew):"
        return told, _ffmpeg(video, (*_maps(info), *_SOUND_AS_AAC), ".mp4")
    if kinds & {"truncated", "no_picture_decoded"}:
        return _whole_part(video, info, reasons)
    return "", ""


def _whole_part(video: str, info: MediaInfo, reasons: Sequence[Reason]) -> tuple[str, str]:
    """A copy of what is whole: nothing is encoded anew, and a damaged tail is left out."""
    starts = [r.start_s for r in reasons if r.kind in ("damaged", "damaged_sound") and r.start_s is not None]
    stop = ("-t", f"{min(starts):.2f}") if starts else ()
    told = "this makes a whole file of what is there, and encodes nothing anew:"
    return told, _ffmpeg(video, (*_maps(info), "-c", "copy", *stop), _suffix(info))


def _tail_only(reasons: Sequence[Reason]) -> bool:
    """Whether the file is cut, and all its damage lies where the cut is."""
    cuts = [r.start_s for r in reasons if r.kind == "truncated" and r.start_s is not None]
    damage = [r.start_s for r in reasons if r.kind in ("damaged", "damaged_sound")]
    if not cuts or any(r.kind in ("clock_jump", "unstable") for r in reasons):
        return False
    return all(start is not None and start > 0 and start >= min(cuts) - _TAIL_S for start in damage)


def _maps(info: MediaInfo) -> tuple[str, ...]:
    """Pictures that are no cover art, and sound tracks of a known codec; other streams stay behind."""
    pictures = ("-map", "0:V") if info.has_video else ()
    known = [n for n, track in enumerate(info.audio_tracks) if track.codec != "unknown"]
    if len(known) == len(info.audio_tracks):
        return (*pictures, "-map", "0:a") if known else pictures
    return (*pictures, *(word for n in known for word in ("-map", f"0:a:{n}")))


def _even(info: MediaInfo) -> tuple[str, ...]:
    return (_EVEN,) if info.width % 2 or info.height % 2 else ()


def _suffix(info: MediaInfo, *, sound_too: bool = True) -> str:
    """``.mp4`` where MP4 takes the codecs that are copied, else ``.mkv``."""
    fits = not info.has_video or info.video_codec in _MP4_PICTURES
    if sound_too:
        fits = fits and all(track.codec in _MP4_SOUND for track in info.audio_tracks)
    return ".mp4" if fits else ".mkv"


def _ffmpeg(video: str, wanted: Sequence[str], suffix: str) -> str:
    """The command that reads the file and writes a new one; it stops where that is there already."""
    source = _name(video)
    stem, old = os.path.splitext(source)
    target = f"{stem if old == suffix else source}.mended{suffix}"  # a.mkv and a.mp4 do not meet
    return shlex.join(["ffmpeg", "-nostdin", "-i", source, *wanted, target])


def _name(video: str) -> str:
    """The file's name as an argument: never an option, an address, or something that cannot be typed."""
    if not _typeable(video):
        return "INPUT"
    odd = video.startswith("-") or ":" in video
    return f"./{video}" if odd and not PurePath(video).is_absolute() else video


def _typeable(video: str) -> bool:
    """Whether all characters of the name can be shown, and so be copied from a terminal."""
    return all(char.isprintable() or unicodedata.category(char) == "Zs" for char in video)
