"""Evaluations of different videos: refused, or, where all are of one list, taken to the videos they share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from avglance.errors import DataError
from avglance.evaluation.runs import FIGURES, Evaluation

SHOWN = 4  # sets in a message


def different_videos(groups: Sequence[Sequence[Evaluation]]) -> DataError:
    """The error for evaluations of several sets of videos."""
    told = [
        f"{len(group[0].videos)} of {group[0].data} {group[0].sha256[:8]} ({group[0].file})"
        for group in groups[:SHOWN]
    ]
    more = ["..."] if len(groups) > SHOWN else []
    into_one = "to put them into one, evaluate all on the same videos"
    if one_list([found for group in groups for found in group]):
        into_one = "--common compares them on the videos that all have"
    return DataError(
        f"the evaluations are of {len(groups)} different sets of videos: {'; '.join(told + more)}",
        hint=f"--each-data gives one table for each; {into_one}",
    )


def one_list(evaluations: Sequence[Evaluation]) -> bool:
    """Whether all were made on the same part of the same list."""
    return len({(found.list_sha256, found.split) for found in evaluations}) == 1 and bool(
        evaluations[0].list_sha256
    )


def only_common(evaluations: Sequence[Evaluation]) -> tuple[list[Evaluation], str]:
    """The evaluations as if only the videos that all of them answered had been there, and a sentence on it.

    Top-1 is that of these videos; the other figures are not known of them and become None. Multiply-adds and
    seconds stay those of each evaluation's own videos. Videos are the same if their files' names are, without
    folder and suffix: copies of a list lie in folders of any kind.

    Raises:
        DataError: the evaluations are of different lists or splits, two videos of one have the same name, or
            they share no video.
    """
    if not one_list(evaluations):
        hint = "a dataset of `avglance data import` knows its list; --each-data gives a table for each"
        raise DataError("the evaluations are not of one split of one known list", hint=hint)
    named = [_by_stem(found) for found in evaluations]
    shared = sorted(set.intersection(*(set(hits) for hits in named)))
    if not shared:
        raise DataError("no video was answered by all evaluations")
    sha256 = hashlib.sha256("\n".join(shared).encode()).hexdigest()
    chosen = []
    for found, hits in zip(evaluations, named, strict=True):
        kept = {name: hits[name] for name in shared}
        figures: dict[str, float | None] = dict.fromkeys(FIGURES)
        figures["top1"] = sum(kept.values()) / len(kept)
        groups = {PurePosixPath(name).stem: group for name, group in found.groups.items()}
        fewer = replace(found, videos=frozenset(shared), hits=kept, groups=groups, sha256=sha256)
        chosen.append(replace(fewer, failed=0, figures=figures))
    sizes = sorted({len(found.videos) for found in evaluations})
    told = f"top-1 is over the {len(shared)} videos that all evaluations answered (of {sizes[0]}"
    told += f" to {sizes[-1]})" if len(sizes) > 1 else ")"
    return chosen, f"{told}; GMACs and seconds are of all videos of each"


def _by_stem(found: Evaluation) -> dict[str, float]:
    """Hits by the names of the files."""
    hits = {PurePosixPath(name).stem: hit for name, hit in found.hits.items()}
    if len(hits) < len(found.hits):
        raise DataError("two videos have files of one name", where=str(found.file))
    return hits
