"""What a decoder can leave out, and what that is worth: processor time a packet, one thread.

    python benchmarks/shortcuts.py FILE... [--packets 450] [--rounds 3] [--out FILE.json]

On the keyframes and on the first packets of each file: everything; without the loop filter (``rough``);
without pictures that no other needs (what readers leave out on the way to a picture); both; at half and a
quarter of the size, where the codec can (readers do not: it was slower at half the size). The ways take turns
in every round; gains are medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import av
import av.error

WAYS: dict[str, dict[str, str]] = {
    "everything": {},
    "rough": {"skip_loop_filter": "all"},
    "spare": {"skip_frame": "noref"},
    "both": {"skip_loop_filter": "all", "skip_frame": "noref"},
    "half": {"lowres": "1"},
    "quarter": {"lowres": "2"},
}
REDUCED = ("half", "quarter")
CAN_REDUCE = ("mpeg4", "mjpeg", "mpeg2video", "mpeg1video", "h263")


def spent(path: Path, options: dict[str, str], most: int, *, keys_alone: bool) -> float:
    """Milliseconds of processor time a packet."""
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        codec, seconds, packets = stream.codec_context, 0.0, 0
        codec.thread_count, codec.options = 1, {**codec.options, **options}
        for packet in box.demux(stream):
            if not packet.size or packets >= most:
                break
            if keys_alone and not packet.is_keyframe:
                continue
            since = time.process_time()
            codec.decode(packet)
            if keys_alone:
                codec.decode(None)
                codec.flush_buffers()
            seconds += time.process_time() - since
            packets += 1
        return 1000 * seconds / max(packets, 1)


def measure(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every way on one file, with the gain over decoding everything."""
    with av.open(str(path)) as box:
        codec = box.streams.video[0].codec_context
        found: dict[str, Any] = {"file": path.name, "codec": codec.name, "size": [codec.width, codec.height]}
    ways = [name for name in WAYS if name not in REDUCED or found["codec"] in CAN_REDUCE]
    for keys_alone in (True, False):
        most = max(1, args.packets // 15) if keys_alone else args.packets
        rounds = [
            {name: spent(path, WAYS[name], most, keys_alone=keys_alone) for name in ways}
            for _ in range(args.rounds)
        ]
        found["keyframes" if keys_alone else "run"] = {
            name: {
                "ms": statistics.median(r[name] for r in rounds),
                "gain": statistics.median(r["everything"] / r[name] for r in rounds),
            }
            for name in ways
        }
    return found


def main(arguments: list[str]) -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--packets", type=int, default=450)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    found = []
    print("| file | codec | what | " + " | ".join(WAYS) + " |\n|" + "---|" * (3 + len(WAYS)))
    for path in args.files:
        try:
            found.append(measure(path, args))
        except (av.error.FFmpegError, IndexError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        for what in ("keyframes", "run"):
            cells = [
                f"{one['ms']:.2f} ms, {one['gain']:.2f}x" if (one := found[-1][what].get(name)) else "-"
                for name in WAYS
            ]
            print(f"| {path.name} | {found[-1]['codec']} | {what} | {' | '.join(cells)} |", flush=True)
    if args.out is not None:
        names = " ".join(path.name for path in args.files)
        how = f"--packets {args.packets} --rounds {args.rounds}"
        kept = {"command": f"python benchmarks/shortcuts.py {names} {how}", "files": found}
        args.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
