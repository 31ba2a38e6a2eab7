"""Pictures show what they were given, where it belongs, none on another."""

import functools
import itertools
import json
import pathlib
import re
import sys

import keras
import matplotlib
import numpy as np
import pytest
from helpers.paths import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colors, pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

import kgrow
from kgrow.algebra import tolerance
from kgrow.analysis import plots
from kgrow.analysis.norms import weight_norms
from kgrow.analysis.plots import style
from kgrow.analysis.plots.ends import RunEnd, draw_ends
from kgrow.analysis.plots.labels import spread_out
from kgrow.analysis.plots.loss import Curve
from kgrow.analysis.preservation.table import PreservationRow, PreservationTable
from kgrow.callbacks import OperatorRecord

pytestmark = pytest.mark.once

GROWN = Curve(
    "grown",
    flops=(1e9, 2e9, 4e9),
    loss=(4.0, 3.0, 2.5),
    seconds=(1.0, 2.0, 8.0),
    events=((2e9, "64 to 128 wide"), (3e9, "2 to 4 deep")),
    tokens=(1e5, 2e5, 3e5),
)
SCRATCH = {
    "name": "from scratch",
    "flops": [2e9, 4e9],
    "loss": [3.5, 2.6],
    "seconds": [2.0, 4.0],
    "tokens": [1e5, 2e5],
}
OPERATOR = {
    "hidden/produce": np.eye(3, 2),
    "ffn/0/produce": np.eye(4, 2),
    "ffn/1/produce": np.eye(4, 2),
    "hidden/share": np.ones(3),
    "block_{layers}/query/kernel/depth": np.arange(8.0).reshape(4, 2),
    "block_{layers}/query/bias/depth": np.ones((4, 2)),
}
ROWS = (
    PreservationRow("lemon", "pre-LN", "ffn", "any", {}, {}, "exact", {}, []),
    PreservationRow(
        "lemon", "pre-LN", "depth", "any", {}, {}, "refuses", {}, []
    ),
    PreservationRow(
        "aki", "pre-LN", "ffn", "any", {}, {}, "inexact", {"f": 0.42}, []
    ),
    PreservationRow(
        "aki", "pre-LN", "depth", "any", {}, {}, "CONTRADICTION", {"f": 2.0}, []
    ),
)
NORMS = {"block_{n}/kernel": [1.0, 2.0], "head/kernel": [3.0]}
MORE = {"block_{n}/kernel": [1.0, 2.0, 1.5], "head/kernel": [4.0]}

ENDS = [RunEnd(f"method {i}", 1e12, 2.3 + 1e-3 * i, 0.01) for i in range(11)]
BUDGETS = [RunEnd("50 %", 8e11, 2.6, 0.02), RunEnd("100 %", 1.6e12, 2.4)]

PICTURES = {
    "loss": lambda path: plots.loss_curves([GROWN, SCRATCH], path),
    "flops": lambda path: plots.loss_over_flops([GROWN, SCRATCH], path),
    "width": lambda path: plots.width_maps(OPERATOR, OPERATOR, path),
    "depth": lambda path: plots.depth_maps(OPERATOR, path),
    "matrices": lambda path: plots.matrix_maps(
        {"P": -np.eye(3, 2), "C": np.eye(3, 2)},
        {"PC": np.eye(2)},
        path=path,
        title="growth",
    ),
    "norms": lambda path: plots.norms_by_layer(NORMS, MORE, path),
    "kept": lambda path: plots.preservation_map(PreservationTable(ROWS), path),
    "schedule": lambda path: kgrow.schedules.get("Sch1-B").plot(path),
    "ends": lambda path: draw_ends(ENDS, BUDGETS, path, title="GPT-2"),
}


@functools.cache
def drawn(name):
    """A picture's figure, for tests that only read it."""
    return PICTURES[name](None)


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def texts(figure):
    """The boxes of all texts that are seen, in pixels."""
    # A figure that pyplot has closed has no canvas of its own any more.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    for axes in figure.axes:
        places = [*axes.texts, axes.title, axes._left_title]
        places += [axes.xaxis.label, axes.yaxis.label]
        found += [
            (t.get_text(), t.get_window_extent(renderer))
            for t in places
            if t.get_visible() and t.get_text()
        ]
    return found


def assert_apart(figure):
    for (one, box), (other, beside) in itertools.combinations(texts(figure), 2):
        assert not box.overlaps(beside), f"{one!r} lies on {other!r}"


# --- all ---------------------------------------------------------------------


@pytest.mark.sample
@pytest.mark.parametrize("name", PICTURES)
def test_a_path_or_a_figure(tmp_path, name):
    before = pyplot.get_fignums()
    path = PICTURES[name](tmp_path / "below" / "picture.png")
    assert path == tmp_path / "below" / "picture.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert pyplot.get_fignums() == before
    figure = PICTURES[name](None)
    assert figure.axes


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_another(name):
    assert_apart(drawn(name))


@pytest.mark.parametrize("name", PICTURES)
def test_texts_lie_inside(name):
    figure = PICTURES[name](None)  # a second drawing would move the layout
    page = figure.bbox
    for text, box in texts(figure):
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text


def test_lines_differ_without_colour():
    dashes = [str(style.look(i)["linestyle"]) for i in range(4)]
    marks = [style.look(i)["marker"] for i in range(12)]
    assert len(set(dashes)) == 4 and len(set(marks)) == 12
    assert "^" not in marks  # which marks growths


def test_colours_of_twelve_lines_differ_for_all_readers():
    """Any two differ by more than a shade, in one of the three channels of
    linear light."""
    found = [style.look(i)["color"] for i in range(12)]
    channels = np.array([colors.to_rgb(colour) for colour in found])
    apart = np.abs(channels[:, None] - channels[None]).max(-1)
    assert apart[~np.eye(12, dtype=bool)].min() > 0.15


def test_looks_stay_distinct_beyond_twelve():
    looks = [style.look(i) for i in range(144)]
    assert len({(look["color"], look["marker"]) for look in looks}) == 144


@pytest.mark.parametrize("name", PICTURES)
def test_every_axis_has_a_label(name):
    for axes in drawn(name).axes:
        spec = axes.get_subplotspec()
        if not axes.axison or spec is None or not len(axes.get_xticks()):
            continue  # an empty place, a bar of colours, or numbers in cells
        assert axes.get_xlabel() or not spec.is_last_row()
        assert axes.get_ylabel() or not spec.is_first_col()


@pytest.mark.parametrize("name", PICTURES)
def test_no_two_lines_share_colour_and_marker(name):
    """Of lines with as many points as a run; labels repeat their run's."""
    for axes in drawn(name).axes:
        looks = [
            (line.get_color(), line.get_marker())
            for line in axes.lines
            if line.get_transform() == axes.transData
            and len(line.get_xdata()) > 1
            and line.get_marker() not in ("", "None", "_")  # ends of bars
        ]
        assert len(looks) == len(set(looks))


@pytest.mark.parametrize("name", ["width", "depth", "matrices"])
def test_maps_of_signed_values_are_white_at_zero(name):
    images = [im for axes in drawn(name).axes for im in axes.images]
    assert images
    for image in images:
        assert image.norm.vmin == -image.norm.vmax < 0
        shades = image.cmap(np.linspace(0, 1, 51))[:, :3]
        light = shades @ [0.299, 0.587, 0.114]
        assert light.argmax() == 25 and light.max() > 0.95
        assert (np.diff(light[:26]) > 0).all()
        assert (np.diff(light[25:]) < 0).all()


def test_negative_values_have_a_dot():
    matrix = np.array([[1.0, -0.5], [-0.01, 0.0]])
    figure = plots.width_maps({"a/produce": matrix * 0}, {"a/produce": matrix})
    (dots,) = figure.axes[1].lines
    assert dots.get_xydata().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("name", sorted(set(PICTURES) - {"loss", "flops"}))
def test_a_picture_says_its_subject(name):
    figure = drawn(name)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert figure.get_suptitle() or titles[0]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plots.loss_curves([GROWN])


def test_a_backend_goes_on_showing_figures_by_itself(tmp_path, monkeypatch):
    """A notebook's says so when it is loaded, for a first figure. What is set
    within the style of a picture ends with it."""
    (tmp_path / "showing_backend.py").write_text(
        "import matplotlib\n"
        "from matplotlib.backends.backend_agg import *\n"
        "matplotlib.interactive(True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pyplot, "_backend_mod", None)
    matplotlib.use("module://showing_backend", force=False)
    try:
        plots.norms_by_layer(NORMS, MORE)
        assert matplotlib.is_interactive()
    finally:
        matplotlib.interactive(False)
        pyplot.close("all")
        pyplot.switch_backend("agg")


@given(
    st.lists(st.floats(-1, 2), min_size=1, max_size=12),
    st.floats(0.01, 0.09),
)
def test_labels_spread_out(values, gap):
    values = sorted(values)
    places = spread_out(values, gap, 0.0, 1.0)
    eps = tolerance("float64", fan_in=len(values))
    assert all(np.diff(places) >= gap - eps)
    assert places[0] >= 0.0 and places[-1] <= 1.0 + eps
    # Labels with room stay where they are.
    inside = min(values) >= 0.0 and max(values) <= 1.0
    if inside and all(np.diff(values) >= gap):
        np.testing.assert_allclose(places, values, atol=eps)


# --- where runs end ----------------------------------------------------------


def test_ends_are_drawn_where_they_are():
    axes = draw_ends(ENDS[:2], BUDGETS).axes[0]
    line, *points = [bars.lines[0] for bars in axes.containers]
    np.testing.assert_array_equal(line.get_xdata(), [8e11, 1.6e12])
    np.testing.assert_array_equal(line.get_ydata(), [2.6, 2.4])
    found = [p.get_ydata()[0] for p in points]
    np.testing.assert_array_equal(found, [end.value for end in ENDS[:2]])
    names = {t.get_text(): t.get_color() for t in axes.texts}
    assert names["method 0"] == points[0].get_color()
    assert set(names) == {"method 0", "method 1", "from scratch"}


def test_pictures_of_results_show_the_stored_numbers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import pictures

    runs = [
        {"run": run, "steps": 150, "seed": 0, "error": 9.0, "loss": loss}
        for run, loss in (("scratch", 0.4), ("lemon", 0.3))
    ]
    table = {
        "options": {"family": "GPT2", "seeds": 3},
        "columns": ["run", "loss", "TFLOP"],
        "rows": [
            ["scratch 100%", "2.480 ± 0.027", "0.951"],
            ["msg", "2.472 ± 0.027", "0.407"],
        ],
    }
    for name, record in (("digits", {"runs": runs}), ("msg_gpt2", table)):
        path = tmp_path / f"{name}_jax.json"
        path.write_text(json.dumps({"benchmark": name, **record}))
        assert pictures.draw(path) == tmp_path / f"{name}_jax.png"
        assert (tmp_path / f"{name}_jax.png").exists()
    assert pictures._numbers("2.866 ± 0.060") == (2.866, 0.06)
    (tmp_path / "stall_jax.json").write_text('{"benchmark": "stall"}')
    assert pictures.draw(tmp_path / "stall_jax.json") is None


# --- loss --------------------------------------------------------------------


def test_a_panel_for_each_cost():
    figure = plots.loss_curves([GROWN, SCRATCH])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "training FLOPs",
        "wall time (s)",
        "training tokens",
    ]
    assert len(plots.loss_over_flops([GROWN, SCRATCH]).axes) == 2


def test_growths_lie_on_their_curve():
    figure = plots.loss_curves([GROWN, SCRATCH])
    for axes, places in zip(
        figure.axes, [(2e9, 3e9), (2.0, 5.0), (2e5, 2.5e5)], strict=True
    ):
        marks = [li for li in axes.lines if li.get_marker() == "^"]
        found = [
            (float(li.get_xdata()[0]), float(li.get_ydata()[0])) for li in marks
        ]
        np.testing.assert_allclose([x for x, _ in found], places)
        np.testing.assert_allclose([y for _, y in found], [3.0, 2.75])


def test_names_of_near_ends_and_near_growths_stay_apart():
    runs = [
        Curve(
            f"run {i}",
            (0.0, 100.0),
            (3.0, 2.0 + 1e-3 * i),
            events=((50.0 + i, f"growth {i}"),),
        )
        for i in range(4)
    ]
    assert_apart(plots.loss_curves(runs))


def test_steps_do_where_nothing_was_billed():
    run = Curve("run", (), (2.0, 1.0), steps=(10, 20), events=((15, "grown"),))
    (axes,) = plots.loss_curves([run]).axes
    assert axes.get_xlabel() == "training steps"
    assert [t.get_text() for t in axes.texts][0] == "grown"


def test_a_top_below_all_curves_is_not_heeded():
    assert plots.loss_curves([GROWN], top=1.0).axes[0].get_ylim()[1] >= 4.0
    low, high = plots.loss_curves([GROWN], top=3.5).axes[0].get_ylim()
    assert high == 3.5 and 2.4 < low < 2.5  # the part that is shown, no more


@pytest.mark.parametrize(
    ("runs", "over", "message"),
    [
        ([], None, "no run"),
        ([GROWN], ["hours"], "is a list of some of"),
        ([GROWN], ["steps"], r"Received: none in \['grown'\]"),
        ([GROWN, Curve("b", (), (1.0,), steps=(1,))], None, "in common"),
    ],
)
def test_runs_that_cannot_be_drawn(runs, over, message):
    with pytest.raises(ValueError, match=message):
        plots.loss_curves(runs, over=over)


# --- learned operators -------------------------------------------------------


def test_maps_show_the_matrices():
    after = {**OPERATOR, "hidden/produce": np.eye(3, 2) * 2}
    figure = plots.width_maps(OPERATOR, after, names=["hidden"])
    start, learned, change = (
        np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3]
    )
    np.testing.assert_array_equal(start, np.eye(3, 2))
    np.testing.assert_array_equal(learned, np.eye(3, 2) * 2)
    np.testing.assert_array_equal(change, np.eye(3, 2))
    assert figure.axes[0].get_ylabel() == "hidden\nnew unit"


def test_blocks_after_the_first_are_drawn_when_asked_for():
    figure = plots.width_maps(OPERATOR, OPERATOR)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[0] == "hidden\nnew unit"
    assert "ffn, block 0\nnew unit" in labels
    assert not any("block 1" in label for label in labels)
    figure = plots.width_maps(OPERATOR, OPERATOR, names=["ffn/1"])
    assert figure.axes[0].get_ylabel() == "ffn, block 1\nnew unit"


def test_depth_maps_write_their_numbers():
    figure = plots.depth_maps(OPERATOR)
    axes = figure.axes[0]
    assert axes.get_title() == "query\nkernel"
    said = [t.get_text() for t in axes.texts]
    assert said == [f"{i:.2f}" for i in range(8)]


def test_cores_of_a_ring_are_maps_from_old_to_new():
    core = np.zeros((1, 2, 3, 1))
    core[0, :, :, 0] = np.arange(6).reshape(2, 3)
    cores = {"layers/in": core, "layers/layers": core}
    figure = plots.width_maps(cores, cores)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_array_equal(shown, np.arange(6).reshape(2, 3).T)
    assert plots.depth_maps(cores).axes[0].images[0].get_array().shape == (3, 2)


def test_maps_that_are_not_there():
    with pytest.raises(ValueError, match=r"\['none'\]"):
        plots.width_maps(OPERATOR, OPERATOR, names=["none"])
    with pytest.raises(ValueError, match="adds no blocks"):
        plots.depth_maps({"hidden/produce": np.eye(2)})


@pytest.mark.compiles
def test_the_record_of_an_operator_is_what_was_learned():
    """Before: what the strategy starts from; after: what the receipt says
    moved. Twenty-one steps are a fit in two parts."""
    model = kgrow.models.MLP(
        input_dim=3,
        output_dim=2,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=1,
    )
    model.compile("adam", "mse")
    source = model.architecture.spec
    record = OperatorRecord()
    ligo = kgrow.strategies.LiGO(steps=21, verbose=0, callbacks=[record])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    receipt = model.grow({"hidden_dim": 6}, ligo, data=data, seed=0)
    start, _ = ligo.operator(source, model.architecture.spec, 0, "float32")
    assert sorted(record.before) == sorted(start) == sorted(record.after)
    for name, value in start.items():
        np.testing.assert_array_equal(record.before[name], value)
        moved = np.linalg.norm(record.after[name] - value)
        size = np.linalg.norm(value)
        assert moved / size == pytest.approx(
            receipt.learned["moved"][name], rel=1e-4
        )


# --- norms -------------------------------------------------------------------


def test_norms_are_those_of_the_weights():
    model = kgrow.models.GPT2(
        vocabulary_size=7,
        num_layers=2,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        max_sequence_length=5,
    )
    norms = weight_norms(model)
    assert not any("bias" in name or "norm" in name for name in norms)
    query = next(name for name in norms if name.endswith("query/kernel"))
    wanted = [
        float(np.linalg.norm(keras.ops.convert_to_numpy(w)))
        for w in model.network.weights
        if w.path.endswith("query/kernel")
    ]
    np.testing.assert_allclose(norms[query], wanted, rtol=1e-5)
    assert "layer_norm/gamma" in weight_norms(model, matrices_only=False)


def test_norms_are_drawn_over_their_blocks():
    figure = plots.norms_by_layer(NORMS, MORE)
    before, after = figure.axes[0].lines[:2]
    np.testing.assert_array_equal(before.get_ydata(), [1.0, 2.0])
    np.testing.assert_array_equal(after.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(after.get_ydata(), [1.0, 2.0, 1.5])
    with pytest.raises(ValueError, match="norms of one model"):
        plots.norms_by_layer(MORE, {"other": [1.0]})


def test_norms_have_titles_that_differ():
    names = ["b_{n}_up/kernel", "b_{n}_down/kernel", "c_{n}/up/kernel"]
    figure = plots.norms_by_layer({}, dict.fromkeys(names, [1.0]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["b_n_up", "b_n_down", "up"]


# --- preservation ------------------------------------------------------------


def test_the_table_is_drawn_cell_by_cell():
    figure = plots.preservation_map(PreservationTable(ROWS))
    axes = figure.axes[0]
    image = np.asarray(axes.images[0].get_array())
    assert image.shape[:2] == (2, 2)
    signs = {
        tuple(map(int, t.get_position())): t.get_text()
        for t in axes.texts
        if t.get_text() not in ("ffn", "depth")
    }
    assert signs == {(0, 0): "✓", (1, 0): "–", (0, 1): ".4", (1, 1): "!"}
    np.testing.assert_allclose(image[1, 1], 0)
    kept = colors.to_rgb("#0072B2")
    np.testing.assert_allclose(image[0, 0], kept)
    with pytest.raises(ValueError, match="an empty table"):
        plots.preservation_map(PreservationTable(()))


# --- samples -----------------------------------------------------------------


def test_every_sample_of_the_page_is_drawn_by_its_command():
    from docs.tools import sample_pictures

    root = pathlib.Path(kgrow.__file__).parents[1]
    page = (root / "docs" / "plots.md").read_text()
    shown = {p.name for p in (root / "docs" / "images").glob("*.png")}
    source = pathlib.Path(sample_pictures.__file__).read_text()
    named = set(re.findall(r'folder / "(\w+\.png)"', source))
    assert len(named) == 6
    assert named <= shown
    assert all(f"images/{name}" in page for name in named)
    assert "python -m docs.tools.sample_pictures" in page
