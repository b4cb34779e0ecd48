"""What sound first is worth: accuracy against seconds from the file, by how many pictures are decoded.

    python benchmarks/sound_first.py MODEL DATA --part NAME [--beside MODEL] [--what WORDS]
        [--trained COMMAND] [--cache DIR] [--limit 200] [--clock 12] [--work FILE [--of 2 --share 0]]
    python benchmarks/sound_first.py                     writes the page again

Sound chooses 2, 4, 8 or all of the pictures; or they are evenly spread (an answer that hears as well, and
chooses among them); or the model beside chooses, which was not trained to. Accuracy: on videos of the dataset
in an order drawn once, every budget from one answer (the scores after each look), from the training cache
where it is given; a work file keeps each answer, and with --of several processes fill one together. Seconds:
of the first of these videos, read from their files in this process, every way in turn, decoder and networks
with one thread. Both go to docs/results/sound_first.json, and docs/sound-first.md is made from that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from glanceworld_page import filled
from results_rows import markdown
from torch import Tensor, nn

from avglance.app import api
from avglance.app.plots import COLOURS, MARKERS, WIDTH, Drawn, drawing
from avglance.app.render import duration
from avglance.data.cache import Cache
from avglance.data.records import TEST, Record, read_dataset
from avglance.evaluation.answers import known_truth
from avglance.evaluation.cached import CachedView
from avglance.evaluation.clock import spread
from avglance.evaluation.intervals import clusters, share_interval
from avglance.systems.base import Steering, System
from avglance.systems.store import load_model
from avglance.views import FileView, evenly

ROOT = Path(__file__).resolve().parents[1]
PAGE, KEPT = ROOT / "docs" / "sound-first.md", ROOT / "docs" / "results" / "sound_first.json"
IMAGE, SCRIPT = ROOT / "docs" / "img" / "sound_first.png", "benchmarks/sound_first.py"
SCHEMA = "avglance.sound-first/1"
PICTURES, LOOKS = (2, 4, 8, 16), (1, 2, 4, 8)
Part = dict[str, Any]
Row = dict[str, Any]


# ---- accuracy ----


class Remembering(nn.Module):
    """An encoder that is asked about each row of a video once, whatever asks again."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.width = encoder, encoder.width
        self.known: dict[bytes, tuple[Tensor, ...]] = {}

    def forward(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Maps and vectors, as the encoder's own."""
        keys = [row.numpy().tobytes() for row in rows]
        new = {key: n for n, key in enumerate(keys) if key not in self.known}
        if new or not keys:
            found = self.encoder(rows[list(new.values())])
            self.known |= {key: tuple(x[n] for x in found) for n, key in enumerate(new)}
        columns = zip(*(self.known[key] for key in keys), strict=True)
        return tuple(map(torch.stack, columns)) if keys else found


def remember(*systems: System) -> list[Remembering]:
    """Puts encoders that remember into systems; equal ones are shared."""
    made: list[Remembering] = []
    for system in systems:
        for name in ("encode_picture", "encode_sound", "encode_focus"):
            own = getattr(system, name)
            same = [one for one in made if _equal(one.encoder, own)]
            made += [] if same else [Remembering(own)]
            setattr(system, name, same[0] if same else made[-1])
    return made


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def answers(systems: dict[str, System], classes: Sequence[str], view: Any, record: Record) -> list[Row]:
    """One video by every number of pictures and way to choose them: hits after each look."""
    event, found = known_truth(record.truth, view.times[0])[0], list[Row]()
    for count in PICTURES:
        for way, system in systems.items():
            told, whole = None, count == system.max_k
            if way == "evenly" and not whole:
                moments = torch.zeros(1, system.max_k, dtype=torch.bool)
                moments[0, evenly(system.max_k, count)] = True
                told = Steering(moments)
            if way != "evenly" or not whole:
                asked = {"glance_pictures": count, "told": told}
                with torch.inference_mode():
                    one = system.recognise(view, min(max(LOOKS), count), **asked)
                hits = [classes[c] in record.labels for c in one.prefix[0].argmax(1).tolist()]
                met = None if event is None else bool((one.looked[0].numpy() & event).any())
                found.append({"pictures": count, "way": way, "hits": hits, "met": met})
    return found


def all_answers(args: argparse.Namespace, model: Any, records: Sequence[Record], cache: Cache | None) -> Row:
    """The answers for all videos, by the number of each; what the work file has is taken from it."""
    systems = {"sound": model.system, "evenly": model.system}
    if args.beside:
        systems["beside"] = load_model(api.find_model(args.beside)).system
    made, rows = remember(*set(systems.values())), dict[str, Any]()
    if args.work and args.work.is_file():
        lines = args.work.read_text(encoding="utf-8").splitlines()
        rows = dict(map(json.loads, lines))
    for number, record in enumerate(records):
        if str(number) in rows or number % args.of != args.share:
            continue
        if cache is not None:
            row = answers(systems, model.classes, CachedView(cache, [record.path]), record)
        else:
            with FileView([record.path], model.system.view_settings, threads=1) as view:
                row = answers(systems, model.classes, view, record)
        rows[str(number)] = row
        for one in made:
            one.known.clear()
        if args.work:
            with args.work.open("a", encoding="utf-8") as file:
                file.write(json.dumps([str(number), row]) + "\n")
    return rows


def accuracy(found: Sequence[list[Row]], records: Sequence[Record]) -> list[Row]:
    """Rows of the table without their seconds: top-1 of every budget, how often a moment was met."""
    groups, made = clusters(record.group for record in records), list[Row]()
    for n, way in enumerate(found[0]):
        column = [row[n] for row in found]
        known = [one["met"] for one in column if one["met"] is not None]
        for looks in (k for k in LOOKS if k <= way["pictures"]):
            hits = [one["hits"][looks - 1] for one in column]
            top1, ends = statistics.fmean(hits), share_interval(hits, groups, seed=0)
            made.append(
                {"pictures": way["pictures"], "way": way["way"], "looks": looks, "videos": len(hits)}
                | {"top1": top1, "top1_interval": ends, "met": statistics.fmean(known) if known else None}
            )
    return made


# ---- the clock ----


def clock(model: Any, records: Sequence[Record]) -> dict[tuple[int, int], dict[str, Any]]:
    """Seconds from the file to the answer, by (pictures, looks); the first file warms up."""
    ways = [(count, looks) for count in PICTURES for looks in LOOKS if looks <= count]
    taken: dict[tuple[int, int], list[Any]] = {way: [] for way in ways}
    ready = api.Model(model)
    for number, record in enumerate(records):
        turn = number % len(ways)
        for count, looks in ways[turn:] + ways[:turn]:
            start, worked = time.perf_counter(), time.process_time()
            found = ready.tag(record.path, budget=looks, glance_pictures=count, threads=1)
            seconds = time.perf_counter() - start, time.process_time() - worked
            if number:
                taken[count, looks].append((*seconds, found.cost))
    return {way: _spent(taken[way]) for way in ways}


def _spent(looks: Sequence[Any]) -> dict[str, Any]:
    costs = [cost for *_, cost in looks]
    return {
        "seconds": spread([one[0] for one in looks]),
        "processor": spread([one[1] for one in looks]),
        "decode": statistics.median(cost.seconds["decode"] for cost in costs),
        "decoded": statistics.fmean(cost.frames_decoded for cost in costs),
        "delivered": statistics.fmean(cost.frames_delivered for cost in costs),
        "gmacs": statistics.fmean(sum(cost.macs.values()) for cost in costs) / 1e9,
    }


# ---- the page ----


def table(part: Part) -> str:
    """Accuracy and cost of every number of pictures and budget."""
    head = ["pictures", "looks", "by sound: top-1, %", "evenly spread, %", "not trained to, %"]
    head += ["moment met by sound, %", "evenly, %"]
    rows = [[*head, "processor (quartiles)", "of all pictures", "decoded", "GMACs"]]
    found = {(row["pictures"], row["looks"], row["way"]): row for row in part["rows"]}
    for (count, looks, way), row in found.items():
        if way != "sound":
            continue
        other, spent = found.get((count, looks, "evenly"), {}), row["spent"]
        whole = found[max(PICTURES), looks, "sound"]["spent"]["processor"]["median"]
        low, high = (100 * end for end in row["top1_interval"])
        worked = spent["processor"]
        quartiles = f"{duration(worked['low'])} to {duration(worked['high'])}"
        top1 = f"{100 * row['top1']:.1f} ({low:.1f} to {high:.1f})"
        beside = found.get((count, looks, "beside"), {})
        shares = (other.get("top1"), beside.get("top1"), row["met"], other.get("met"))
        shares = [_percent(share) for share in shares]
        cells = [f"{count} of {max(PICTURES)}", str(looks), top1, *shares]
        cells += [f"{duration(worked['median'])} ({quartiles})", f"{100 * worked['median'] / whole:.0f} %"]
        rows.append([*cells, f"{spent['decoded']:.0f}", f"{spent['gmacs']:.2f}"])
    videos, timed = part["rows"][0]["videos"], len(part["rows"][0]["spent"]["seconds"]["each"])
    over = f" from {part['groups']} sources" if part["groups"] else ""
    note = f"{videos} test videos{over}; seconds of {timed} of them. On {part['machine']}, a load of "
    trained = f" Trained by `{part['trained']}`." if part["trained"] else ""
    return f"{note}{part['load']:.1f} before. `{part['made_by']}`.{trained}\n\n{markdown(rows)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def draw(parts: dict[str, Part]) -> Drawn:
    """Accuracy against seconds, a panel a part, a line for each number of pictures."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots(1, len(parts), squeeze=False, sharey=True)[0]
        for axis, part in zip(axes, parts.values(), strict=True):
            spent = {
                (r["pictures"], r["looks"]): r["spent"]["processor"]["median"]
                for r in part["rows"]
                if r["way"] == "sound"
            }
            for n, count in enumerate(PICTURES):
                for way, dash in (("sound", "-"), ("evenly", ":")):
                    rows = [r for r in part["rows"] if (r["pictures"], r["way"]) == (count, way)]
                    words = f"{count} by sound" if way == "sound" else f"{count} evenly"
                    words = f"all {count}" if count == max(PICTURES) else words
                    if rows:
                        at = [spent[count, r["looks"]] for r in rows], [100 * r["top1"] for r in rows]
                        style = {"color": COLOURS[n], "marker": MARKERS[n], "linestyle": dash}
                        faint = {} if way == "sound" else {"alpha": 0.6, "markerfacecolor": "none"}
                        axis.plot(*at, label=words, **style, **faint)
            axis.set(title=part["what"], xlabel="seconds of the processor a video", ylabel="top-1, %")
            axis.set_xlim(left=0)
        handles, words = axes[0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside lower center", ncols=4)
        return Drawn(figure, "accuracy against seconds by the number of pictures")


def tables(parts: dict[str, Part]) -> dict[str, str]:
    """Every table of the page, by name."""
    return {name: table(part) for name, part in parts.items()}


def write_page() -> None:
    """Puts every table between its marks, and draws."""
    parts = json.loads(KEPT.read_text(encoding="utf-8"))["parts"]
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(text, tables(parts).items(), script=SCRIPT), encoding="utf-8")
    IMAGE.write_bytes(draw(parts).render("png"))


# ---- the command ----


def measured(args: argparse.Namespace) -> Part:
    """One part: a model on a dataset."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    model, dataset = load_model(api.find_model(args.model)), read_dataset(args.data, prefer=TEST)
    order = np.random.default_rng(0).permutation(len(dataset.records))[: args.limit]
    records = [dataset.records[n] for n in order.tolist()]
    cache = None if args.cache is None else Cache(dataset, model.system.view_settings, args.cache)
    spent = clock(model, records[: args.clock + 1]) if args.of == 1 else {}
    found = all_answers(args, model, records, cache)
    if args.of > 1:
        return {}
    rows = accuracy([found[str(n)] for n in range(len(records))], records)
    for row in rows:
        row["spent"] = spent[row["pictures"], row["looks"]]
    chosen = ("--part", args.part, "--limit", str(args.limit), "--clock", str(args.clock))
    return {
        "what": args.what or args.part,
        "trained": args.trained,
        "made_by": f"python {SCRIPT} MODEL DATA {' '.join(chosen)}",
        "machine": f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__.split('+')[0]}",
        "load": load,
        "weights_sha256": model.sha256,
        "data": {"kind": dataset.kind, "sha256": dataset.sha256},
        "groups": len({record.group for record in records if record.group}),
        "rows": rows,
    }


def main(arguments: list[str]) -> int:
    """Measure, keep, and write the page; without arguments the page alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--part", default="")
    parser.add_argument("--beside", default="")
    parser.add_argument("--what", default="")
    parser.add_argument("--trained", default="")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--clock", type=int, default=12)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--share", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.model is not None:
        if args.data is None or not args.part or not 0 < args.clock < args.limit:
            parser.error("MODEL, DATA and --part are needed, and --clock below --limit")
        kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
        part = measured(args)
        if not part:  # a share of the work alone
            return 0
        kept = {"schema": SCHEMA, "machine": part["machine"], "parts": kept.get("parts", {})}
        kept["parts"][args.part] = part
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
