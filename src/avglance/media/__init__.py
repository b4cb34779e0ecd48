"""Files in and out: the only room that knows PyAV."""

from avglance.media.check import CheckReport, check
from avglance.media.limits import Limits
from avglance.media.reader import Frame, VideoReader
from avglance.media.sniff import Sniffed, sniff
from avglance.media.sound import SoundPiece
from avglance.media.writer import write_mp4

__all__ = [
    "CheckReport",
    "Frame",
    "Limits",
    "Sniffed",
    "SoundPiece",
    "VideoReader",
    "check",
    "sniff",
    "write_mp4",
]
