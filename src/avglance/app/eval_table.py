"""The figures of an evaluation as a table for a person."""

from __future__ import annotations

from typing import Any

from avglance.app.leading import leading_rows, modes
from avglance.app.render import Ink, clean, duration, gmacs, share, stage_names

NAMED = 10  # failures and classes that the table names
SOUND = {"none": "its own", "swap_sound": "of another video", "mute": "none"}
TOLD = {
    "true_moments": "told which moments are the event's",
    "true_patches": "told where the object is",
    "true_both": "told the moments and the places",
    "uniform": "looked at evenly spaced moments, whatever their saliency",
}
SEEN = {
    "trained": "these are the videos of its training: the figures say how well it knows them by heart",
    "chosen": "its training was judged by these videos, and may have kept the epoch that suits them best",
    "calibrated": "these videos calibrated it: its scores are less good on others, and exits less sure",
}
NEVER_UNKNOWN = "nothing is called unknown: the model's card has no calibration"


def table(found: dict[str, Any], ink: Ink) -> str:
    """The figures for a person."""
    return "\n".join(_head(found, ink) + _figures(found, ink) + _cost(found, ink) + _failures(found, ink))


def _head(found: dict[str, Any], ink: Ink) -> list[str]:
    model, settings = found["model"], found["settings"]
    lines = [
        f"{ink(clean(model['name']), 'bold')} ({clean(model['system'])}) on {data_name(found['data'])}: "
        f"{found['videos']} videos answered, {found['failed']} failed",
        f"  K = {settings['budget']} of T = {settings['snippets']}, "
        f"{'stops when sure (' + clean(settings['exits']) + '), ' if settings.get('exits') else ''}"
        f"sound: {SOUND.get(settings['control'], 'its own')}, {found['heard']} videos heard",
    ]
    lines += _grid(found)
    if settings["control"] in TOLD:
        lines.append(f"  ! {TOLD[settings['control']]}")
    if settings.get("cached"):
        lines.append("  ! from a cache: the seconds leave decoding out")
    if settings["control"] == "swap_sound" and found["donors_sharing_a_label"]:
        lines.append(
            f"  ! {found['donors_sharing_a_label']} videos got the sound of a video of their own class"
        )
    if found["unknown_classes"]:
        lines.append(f"  ! the model does not know {_names(found['unknown_classes'])}: counted as misses")
    if found["unknown"]["videos"] and not found["calibrated"]:
        lines.append(f"  ! {found['unknown']['videos']} videos show no known class; {NEVER_UNKNOWN}")
    lines += [f"  ! {SEEN[word]}" for word in found.get("seen_before", ())]
    lines += [f"  {line}" for line in modes(found)]
    if "train" in found["data"].get("splits", {}):
        lines.append("  ! all splits together, train among them: --split takes one")
    return lines


def _grid(found: dict[str, Any]) -> list[str]:
    """On which grid the videos were looked at, where it is not simply the exact one."""
    settings, keys = found["settings"], found["keyframes"]
    lines = ["  ! decoded without the loop filter"] if settings.get("rough") else []
    if {settings["grid"], settings["trained_grid"]} == {"exact"} or keys["snippets"] is None:
        return lines
    other = settings["grid"] != settings["trained_grid"]
    trained = f"; the model was trained on the {settings['trained_grid']} grid" if other else ""
    return [
        f"  grid {settings['grid']}: {keys['snippets']:.1f} of {settings['snippets']} snippets on keyframes, "
        f"{keys['pictures']:.1f} different pictures{trained}",
        *lines,
    ]


def data_name(data: dict[str, Any]) -> str:
    """What was evaluated on; how many of the listed videos are there, where a list is known.

    >>> data_name({"kind": "activitynet", "split": "validation", "listed": 9, "videos": 8})
    '8 of 9 videos of activitynet (validation)'
    """
    kind = clean(data["kind"] or "a dataset")
    name = f"{kind} ({clean(data['split'])})" if data.get("split") else kind
    return f"{data['videos']} of {data['listed']} videos of {name}" if data.get("listed") else name


def _figures(found: dict[str, Any], ink: Ink) -> list[str]:
    absent, k = found["absent_classes"], found["settings"]["budget"]
    without = f"without {_names(absent)}: no video shows them" if absent else ""
    area = (
        ""
        if found["patch_area"] is None
        else f", a patch covers {100 * found['patch_area']:.0f} % of the square"
    )
    rows = [
        *leading_rows(found, _between(found["top1_interval"]), without),
        ("calibration error", found["calibration_error"], _scores(found)),
        *(_unknown(found) if found["calibrated"] else ()),
        ("moment recall", found["moment_recall"], _between(found["moment_recall_interval"])),
        ("patch hit", found["patch_hit"], f"of {found['patch_chances']} chosen event snippets{area}"),
        ("span IoU", found["span_iou"], "of the true label's spans with the event"),
        (f"{k} uniform meet", found["uniform_ceiling"], "of the events: the ceiling without choosing"),
    ]
    groups = found["interval_groups"]
    over = f"   intervals over {groups} source groups, not over videos" if groups else ""
    lines = [ink(f"  {'figure':<20}{'%':>6}{over}", "cyan")]
    for name, value, note in rows:
        if value is not None:
            lines.append(f"  {name:<20}{100 * value:>6.1f}   {note}".rstrip())
    return lines


def _scores(found: dict[str, Any]) -> str:
    """What the scores are, whose error is shown."""
    return "of the highest score" + ("" if found["calibrated"] else ", as the system gives it")


def _unknown(found: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """The lines on what is called unknown: of everything, of what is, and of what is not."""
    said = found["unknown"]
    lost = f"{said['right_lost_videos']} of {said['right']} right answers lost"
    if said["top1_lost"]:
        lost += f", {100 * said['top1_lost']:.1f} points of top-1"
    of = {name: said[f"{name}_videos"] for name in ("said", "recognised", "known_said")}
    return [
        ("called unknown", said["said"], f"{of['said']} of {found['videos']} videos"),
        ("  rightly", said["recognised"], f"{of['recognised']} of {said['videos']} that show no known class"),
        ("  wrongly", said["known_said"], f"{of['known_said']} of {said['known']} that show one; {lost}"),
    ]


def _cost(found: dict[str, Any], ink: Ink) -> list[str]:
    macs, seconds, frames = found["gmacs"], found["seconds"], found["frames"]
    lines = [ink(f"  {'a video':<20}{'GMACs':>8}{'time':>10}", "cyan")]
    for stage in [s for s in stage_names({**macs, **seconds}) if s != "total"] + ["total"]:
        spent = gmacs(macs[stage] * 1e9) if macs.get(stage) else ""
        clock = duration(seconds[stage]) if seconds.get(stage) else ""
        lines.append(f"  {stage:<20}{spent:>8}{clock:>10}".rstrip())
    whole, spread = found["whole_gmacs"], found["gmacs_distribution"]
    if spread:
        lines.append(
            f"  GMACs: {share(macs['total'], whole)} of {gmacs(whole * 1e9)} (a close look at everything); "
            f"smallest {gmacs(spread['min'] * 1e9)}, median {gmacs(spread['p50'] * 1e9)}, "
            f"largest {gmacs(spread['max'] * 1e9)}"
        )
    spread = found["looks_distribution"]
    if spread and found["settings"].get("exits"):
        lines.append(
            f"  looks: {found['looks']:.2f} on average; smallest {spread['min']:.0f}, median "
            f"{spread['p50']:.0f}, nine in ten at most {spread['p90']:.0f}, largest {spread['max']:.0f}"
        )
    if not found["settings"].get("cached"):
        lines.append(
            f"  frames: {frames['delivered']:.1f} of {frames['whole']:.0f} looked at, "
            f"{frames['decoded']:.1f} decoded on the way"
        )
    at_once = found["settings"]["workers"]
    lines.append(f"  wall clock: {duration(found['wall_s_per_video'])} a video, {at_once} batches at once")
    return lines


def _failures(found: dict[str, Any], ink: Ink) -> list[str]:
    failures = found["failures"]
    lines = [f"  {ink('failed', 'red')} {clean(f['video'])}: {clean(f['message'])}" for f in failures[:NAMED]]
    more = len(failures) - NAMED
    return lines + ([f"  ... and {more} more (all in --out)"] if more > 0 else [])


def _between(ends: list[float] | None) -> str:
    return "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} with 95 % confidence"


def _names(names: list[str]) -> str:
    shown = ", ".join(clean(name, 60) for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
