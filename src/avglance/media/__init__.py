"""Files in and out: the only room that knows PyAV."""

from avglance.media.arrays import ArrayReader, VideoArray
from avglance.media.check import CheckReport, check
from avglance.media.frame import Frame
from avglance.media.inputs import Source, local, source_name
from avglance.media.isolated import Decoders, IsolatedReader
from avglance.media.least import Least, least_decoding
from avglance.media.limits import Limits
from avglance.media.reader import VideoReader
from avglance.media.side import BESIDE, NO_FILE
from avglance.media.sniff import Sniffed, sniff
from avglance.media.sound import SoundPiece
from avglance.media.surface import Opener, Reader
from avglance.media.through import frames_through
from avglance.media.writer import write_mp4

__all__ = [
    "BESIDE",
    "NO_FILE",
    "ArrayReader",
    "CheckReport",
    "Decoders",
    "Frame",
    "IsolatedReader",
    "Least",
    "Limits",
    "Opener",
    "Reader",
    "Sniffed",
    "SoundPiece",
    "Source",
    "VideoArray",
    "VideoReader",
    "check",
    "frames_through",
    "least_decoding",
    "local",
    "sniff",
    "source_name",
    "write_mp4",
]
