"""Plots of made-up runs: what stands in them, and that nothing a name holds breaks them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tests.evaluation.made_runs import evaluation, hits_of, make_run

from avglance.app import plots
from avglance.evaluation.compare import compare
from avglance.evaluation.trainings import Curve

BUDGETS = (1, 4, 16)


def make_rows(folder, names, budgets=BUDGETS, seeds=2, dearer=1.0):
    """Runs whose top-1 is known: 30 + K + 10 x seed + place of the name, of 100."""
    for place, name in enumerate(names):
        for seed in range(seeds):
            found = []
            for k in budgets:
                one = evaluation(hits_of(30 + k + 10 * seed + place, 100), **{"settings.budget": k})
                cost = (1 + k / 10) * dearer**place
                one |= {
                    "gmacs": {"focus": cost, "total": cost},
                    "seconds": {"decode": 0.1, "total": 0.1 * cost},
                }
                found.append(one)
            make_run(folder / name / f"seed{seed}", *found, seed=seed)
    return compare([folder])


def curves_of(axis):
    """The lines of a panel that are no error bars and no thin single seeds."""
    return [line for line in axis.lines if line.get_zorder() == 3]


def pixels(drawn):
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(drawn.render("png")), format="png")


def test_lines_are_the_rows_with_their_values_bars_and_numbers(tmp_path):
    figure = plots.draw(make_rows(tmp_path, ["full", "tsn"]))["cost"].figure
    assert len(figure.axes) == 6
    full, tsn = curves_of(figure.axes[0])
    assert list(full.get_xdata()) == pytest.approx([1.1, 1.4, 2.6])
    assert list(full.get_ydata()) == pytest.approx([36, 39, 51])  # means of the two seeds
    assert list(tsn.get_ydata()) == pytest.approx([37, 40, 52])
    assert list(curves_of(figure.axes[1])[0].get_xdata()) == pytest.approx([0.11, 0.14, 0.26])
    bars = figure.axes[0].collections[0].get_segments()
    assert bars[0][:, 1] == pytest.approx([36 - 50**0.5, 36 + 50**0.5])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1", "16", "16", "4", "4"]
    legend = figure.legends[0]
    assert [text.get_text().strip() for text in legend.get_texts()] == ["full", "tsn"]
    assert "bars: ± standard deviation" in legend.get_title().get_text()
    assert figure.axes[4].get_xlabel() == "GMACs a video"


def test_numbers_lie_on_no_other_number(tmp_path):
    figure = plots.draw(make_rows(tmp_path, [f"row {n}" for n in range(12)]))["cost"].figure
    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert boxes
        for n, box in enumerate(boxes):
            for other in boxes[:n]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                down = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert across < 2 or down < 2  # pixels


def test_the_axis_of_costs_is_logarithmic_from_tenfold_on(tmp_path):
    near = plots.draw(make_rows(tmp_path / "near", ["a", "b"]))["cost"].figure
    far = plots.draw(make_rows(tmp_path / "far", ["a", "b"], dearer=8.0))["cost"].figure
    assert [axis.get_xscale() for axis in near.axes] == ["linear"] * 6
    assert [axis.get_xscale() for axis in far.axes] == ["log"] * 6
    assert near.axes[0].get_xlim()[0] == 0


def test_one_budget_and_one_seed_need_no_numbers_and_no_bars(tmp_path):
    figure = plots.draw(make_rows(tmp_path, ["full"], budgets=(4,), seeds=1))["cost"].figure
    assert not figure.axes[0].texts
    assert not figure.axes[0].collections
    assert figure.legends[0].get_title().get_text() == "glanceworld, 100 videos, all at K = 4"
    low, high = figure.axes[0].get_ylim()
    assert high - low >= 10
    assert low < 34 < high


def test_learning_curves(tmp_path):
    for seed, top1 in enumerate([(0.1, 0.4, 0.5), (0.3, 0.6)]):
        make_run(tmp_path / "full" / f"seed{seed}", seed=seed, top1=top1, epochs=3)
    drawn = plots.draw(compare([tmp_path]))
    assert list(drawn) == ["curves"]
    figure = drawn["curves"].figure
    assert len(figure.axes) == 8
    (mean,) = curves_of(figure.axes[0])
    assert list(mean.get_xdata()) == [1.0, 2.0]  # epochs that both have
    assert list(mean.get_ydata()) == pytest.approx([20, 50])
    assert len(figure.axes[0].lines) == 3
    assert list(curves_of(figure.axes[1])[0].get_xdata()) == [100.0, 200.0]
    assert list(curves_of(figure.axes[6])[0].get_ydata()) == pytest.approx([2.75, 2.5, 2.25, 2.0])
    assert figure.axes[7].get_xlabel() == "seconds of training"


def test_a_row_looks_alike_in_every_plot_and_rows_look_different(tmp_path):
    make_run(tmp_path / "a_first_without_evaluation")
    drawn = plots.draw(make_rows(tmp_path, [f"row {n}" for n in range(3)]))
    cost, curves = drawn["cost"].figure.axes[0], drawn["curves"].figure.axes[0]
    assert [x.get_color() for x in curves_of(cost)] == [x.get_color() for x in curves_of(curves)[1:]]
    looks = [tuple(plots._look(n).values())[:3] for n in range(70)]
    assert len(set(looks)) == 70
    assert len({look[1:] for look in looks[:10]}) == 10  # also without colour


def test_seeds_of_one_name_on_two_datasets_are_two_lines(tmp_path):
    for n in range(2):
        run = make_run(tmp_path / f"world{n}" / "full" / "seed0")
        card = (run / "run.json").read_text().replace("cc" * 32, f"{n}c" * 32)
        (run / "run.json").write_text(card)
    figure = plots.draw(compare([tmp_path]))["curves"].figure
    told = [text.get_text().strip() for text in figure.legends[0].get_texts()]
    assert told == ["full (data 0c0c0c0c)", "full (data 1c1c1c1c)"]


def test_the_mean_curve_stands_where_all_seeds_do():
    first = Curve((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), (0.1, 0.2, 0.3))
    second = Curve((1.0, 3.0), (20.0, 50.0), (0.3, 0.5))
    mean = plots.mean_curve([first, second])
    assert mean == Curve((1.0, 3.0), (15.0, 40.0), (pytest.approx(0.2), pytest.approx(0.4)))
    assert plots.mean_curve([first]) is first


@pytest.mark.parametrize("name", ["$\\frac{1}{", "_hidden", "<b>&", "日本語", "x" * 200, "\x1b[31m"])
def test_any_name_can_be_drawn(tmp_path, name, recwarn):
    drawn = plots.draw(make_rows(tmp_path, [name], seeds=1))
    for one in drawn.values():
        ElementTree.fromstring(one.render("svg"))
        assert len(one.figure.legends[0].get_texts()) == 1
    assert not recwarn


def test_pictures_are_white_900_wide_at_one_dot_a_pixel_and_always_the_same(tmp_path):
    found = make_rows(tmp_path, ["full"])
    picture = pixels(plots.draw(found)["cost"])
    assert picture.shape[1] == 2 * 900
    assert np.all(picture[0, 0] == 1.0)
    assert (picture.min(axis=-1) < 0.5).mean() > 0.001  # something is drawn
    for kind in plots.KINDS:
        assert plots.draw(found)["cost"].render(kind) == plots.draw(found)["cost"].render(kind)


def test_the_style_of_the_user_is_left_out_and_left_alone(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "black", "text.usetex": True}):
        figure = plots.draw(make_rows(tmp_path, ["full"]))["cost"].figure
        assert matplotlib.rcParams["axes.facecolor"] == "black"
    assert figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
