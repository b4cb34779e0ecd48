"""``avglance export MODEL``: graphs that answer on machines without torch."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from avglance import __version__
from avglance.app.render import clean
from avglance.errors import ArgumentError, CheckpointError
from avglance.types import as_json

if TYPE_CHECKING:
    from avglance.app.parity import Parity
    from avglance.app.quantise import Brief
    from avglance.runtime import By, LoadedGraphs, Manifest
    from avglance.systems.graphs import Exported
    from avglance.systems.store import LoadedModel

EPILOG = """FOLDER becomes the model with graphs beside its weights: `avglance tag --model FOLDER` answers
with them through onnxruntime, or with --runtime openvino through openvino, and needs no torch for it. Each
stage is a graph of its own; what is chosen (which moments, where in them, when to stop) is chosen outside, as
by the model itself. Both read the same graphs: --to names the one that must be able to run them. --check
compares its answers with the model's on a bundled sample and on FILE ..., and writes nothing where they
differ. --int8 lets the encoders compute in 8 bits, which is quicker and answers a little differently:
`avglance eval FOLDER DATA --runtime onnx` says how well."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``avglance export``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="shipped model or model folder")
    parser.add_argument(
        "--to", default="onnx", choices=("onnx", "openvino"), help="what shall run them (default: onnx)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where they shall be (default: MODEL-onnx, here)"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the model that is in FOLDER, which may be MODEL itself"
    )
    parser.add_argument(
        "--check", nargs="*", type=Path, metavar="FILE", help="see that the graphs answer as the model does"
    )
    parser.add_argument(
        "--int8", nargs="+", type=Path, metavar="FILE",
        help="encoders in 8 bits; FILE ...: some tens of videos or folders like those it is for, never those"
        " it is tested on",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Export, check, write, say what was made; the exit code."""
    from avglance.app.api import find_model
    from avglance.app.quantise import check_files
    from avglance.app.tag import expand
    from avglance.runtime import load_graphs, share
    from avglance.systems.folder import WEIGHTS, check_free, write_whole
    from avglance.systems.graphs import onnx_bytes, take_apart
    from avglance.systems.store import load_model

    folder = find_model(args.model)
    files = None if args.int8 is None else check_files(list(expand(args.int8)))
    out = args.out or Path(f"{folder.resolve().name}-{args.to}")
    check_free(out, args.force)
    loaded = load_model(folder)
    exported = take_apart(loaded.system)
    whole = {name: onnx_bytes(name, graph) for name, graph in exported.graphs.items()}
    weights = (folder / WEIGHTS).read_bytes()
    graphs = share(whole, weights)
    found: list[Parity] = []

    def fill(temporary: Path) -> None:
        copy_with(folder, temporary, manifest(loaded, exported), graphs)

    def check(temporary: Path) -> None:
        made = load_graphs(temporary, by=args.to)
        if args.check is not None:
            found.extend(checked(loaded, made, list(expand(args.check))))

    brief = None
    try:
        if files is None:
            write_whole(out, fill, check=check)
        else:
            with tempfile.TemporaryDirectory() as place:
                plain = write_whole(Path(place) / "plain", fill, check=check)
                brief = quantise(plain, weights, files, out, by=args.to)
    except OSError as error:
        hint = "make room, or name another folder"
        raise ArgumentError(f"cannot be written: {error.strerror}", where=str(out), hint=hint) from error
    sizes = {name: (out / f"{name}.onnx").stat().st_size for name in graphs}
    if args.json or not sys.stdout.isatty():
        said = {"folder": str(out), "runtime": args.to, "bytes": sizes, "check": as_json(found)}
        said |= {} if brief is None else {"int8": asdict(brief)}
        print(json.dumps(said))
    else:
        print(text(out, sizes, found, brief))
    return 0


def copy_with(folder: Path, temporary: Path, found: Manifest, graphs: dict[str, bytes]) -> None:
    """Puts the files of a model and these graphs into a folder that is being made."""
    from avglance.runtime import write_graphs
    from avglance.systems.folder import files_of

    for file in files_of(folder, graphs=False):
        shutil.copyfile(file, temporary / file.name)
    write_graphs(temporary, found, graphs)


def quantise(folder: Path, weights: bytes, files: list[Path], out: Path, *, by: By) -> Brief:
    """Writes an exported model with those of its encoders in 8 bits that bear it; what became of it.

    Raises:
        ArgumentError: an encoder was given nothing by the files, or none bears it.
        MediaError: one of the files cannot be read.
    """
    from avglance.app.quantise import LEAST_COSINE, Brief, cosine, labels_of, seen_in
    from avglance.runtime import load_graphs, read_graphs
    from avglance.runtime.quantise import quantised
    from avglance.systems.folder import write_whole

    loaded, plain, labels = load_graphs(folder), read_graphs(folder), list[int]()
    seen = seen_in(loaded, files)
    made = {name: quantised(plain.graphs[name], weights, rows) for name, rows in seen.rows.items()}
    alike = {name: cosine(loaded.system.encoders[name], made[name], rows) for name, rows in seen.rows.items()}
    kept = {name: content for name, content in made.items() if alike[name] >= LEAST_COSINE}
    if not kept:
        worst = ", ".join(f"{name} {value:.2f}" for name, value in alike.items())
        what = f"no encoder gives in 8 bits what it gave (cosine {worst})"
        raise ArgumentError(what, where="--int8", hint="export it without --int8")
    versions = plain.manifest.made_with | {"onnxruntime": metadata.version("onnxruntime")}
    whole = replace(plain.manifest, int8=tuple(kept), made_with=versions)

    def fill(temporary: Path) -> None:
        copy_with(folder, temporary, whole, plain.graphs | kept)

    def check(temporary: Path) -> None:
        labels.extend(labels_of(load_graphs(temporary, by=by).system, files))

    write_whole(out, fill, check=check)
    same = sum(a == b for a, b in zip(seen.labels, labels, strict=True))
    return Brief({name: round(value, 4) for name, value in alike.items()}, tuple(kept), same, len(files))


def manifest(loaded: LoadedModel, exported: Exported) -> Manifest:
    """What the graphs of a model are, for the runtime."""
    from avglance.runtime import GraphEntry, Manifest

    system = loaded.system
    return Manifest(
        kind=exported.kind,
        system=system.name,
        classes=system.classes,
        max_k=system.max_k,
        view=system.view_settings,
        weights_sha256=loaded.sha256,
        whole_macs=system.whole_macs(),
        look_macs=system.look_macs(),
        settings=exported.settings,
        graphs={name: GraphEntry(f"{name}.onnx", graph.macs) for name, graph in exported.graphs.items()},
        labels=system.labels,
        made_with={"avglance": __version__, "torch": metadata.version("torch")},
    )


def checked(loaded: LoadedModel, graphs: LoadedGraphs, files: list[Path]) -> list[Parity]:
    """The comparison of a model with its graphs.

    Raises:
        CheckpointError: they do not answer alike.
        MediaError: a file cannot be read.
    """
    from avglance.app.api import Model
    from avglance.app.parity import SAMPLE, compare

    found = list(compare(Model(loaded), Model(graphs), [SAMPLE, *files]))
    wrong = [pair for pair in found if pair.wrong]
    if wrong:
        first = wrong[0]
        what = f"in {len(wrong)} of {len(found)} answers the graphs differ from the model"
        raise CheckpointError(
            f"{what}; first {first.file}, {first.budget}: {'; '.join(first.wrong)}",
            where="export",
            hint="nothing was written; a layer of an encoder may have another form in ONNX",
        )
    return found


def text(out: Path, sizes: dict[str, int], found: list[Parity], brief: Brief | None = None) -> str:
    """What was made, for a person."""
    lines = [
        f"{clean(out, 1000)}: {len(sizes)} graphs, {sum(sizes.values()) / 1e6:.2g} MB beside its weights"
    ]
    for file in dict.fromkeys(pair.file for pair in found):
        pairs = [pair for pair in found if pair.file == file]
        far = max(pair.apart["logits"] for pair in pairs)
        lines.append(
            f"  {clean(file, 1000)}: {len(pairs)} budgets, same moments and looks, logits within {far:.1e}"
        )
    if not found:
        lines.append("  not compared with the model (--check)")
    if brief is not None:
        for name, value in brief.cosine.items():
            how = "in 8 bits" if name in brief.graphs else "stays as it is"
            lines.append(f"  {name} {how}: cosine {value:.3f} with what it gave")
        lines.append(f"  {brief.same} of the {brief.files} files it was measured on get the same label")
    return "\n".join(lines)
