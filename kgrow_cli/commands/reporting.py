"""`kgrow report`: a page and pictures of runs' records."""

import pathlib

from rich.console import Console

from kgrow.algebra.errors import GrowthError
from kgrow.analysis.plots import Curve, loss_curves
from kgrow_cli.commands import html_page
from kgrow_cli.commands.model_files import check_output, replacing
from kgrow_cli.commands.run_records import UNITS, read_records
from kgrow_cli.commands.units import bytes_text, flops_text, seconds_text

_FIRST_CHOICES = ("val_loss", "loss")


def write_report(folder, output=None, metric=None, force=False):
    """Writes a page, and beside it the pictures that are in it.

    Returns:
        list of `pathlib.Path`, of all that was written.

    Raises:
        OSError: there is nothing to report, or a file is there already.
        GrowthError: no run has the metric.
    """
    if output is None:
        output = pathlib.Path(folder) / "report.html"
        if not pathlib.Path(folder).is_dir():
            raise FileNotFoundError(f"there is no folder {str(folder)!r}.")
    output = check_output(output, force, (".html",))
    picture = check_output(output.with_suffix(".png"), force, (".png",))
    written = []
    with Console(stderr=True).status("reading the run"):
        runs = read_records(folder)
        metric = _metric(runs, metric)
        curves = _curves(runs, metric)
        parts = [html_page.heading("Runs"), _summary(runs, metric)]
        if curves:
            with replacing(picture) as beside:
                loss_curves(curves, beside, ylabel=_label(metric))
            written.append(picture)
            parts += [
                html_page.heading(_label(metric)),
                html_page.picture(picture, f"{metric} over what was spent"),
            ]
        for run in runs:
            parts += _about(run)
        title = f"Growth report: {pathlib.Path(folder).resolve().name}"
        with replacing(output) as beside:
            beside.write_text(
                html_page.make_page(title, parts), encoding="utf-8"
            )
        written.insert(0, output)
    for path in written:
        print(f"written: {path}")
    for run in runs:
        for said in run.notes:
            print(f"note: {run.name}: {said}")
    return written


def _metric(runs, wanted):
    known = list(dict.fromkeys(m for run in runs for m in run.metrics))
    if wanted is not None and wanted not in known:
        raise GrowthError(
            f"No run has the metric {wanted!r}. Received: --metric {wanted}. "
            f"There are: {known}"
        )
    choices = [wanted, *_FIRST_CHOICES, *known[:1]]
    return next((m for m in choices if m in known), None)


def _curves(runs, metric):
    curves, by_name = [], {run.name: run for run in runs}
    for run in runs:
        if metric in run.columns:
            units = {u: run.columns.get(u, ()) for u in UNITS}
            curves.append(
                Curve(
                    run.name,
                    units.pop("flops"),
                    run.columns[metric],
                    events=run.marks,
                    **units,
                )
            )
    units = [unit for curve in curves for unit in curve.units]
    if not units:
        return []
    # What most runs were counted in: a picture has one axis.
    common = max(dict.fromkeys(units), key=units.count)
    shown = [curve for curve in curves if common in curve.units]
    for curve in curves:
        if curve not in shown:
            by_name[curve.name].notes.append(
                f"it is not in the picture: it does not say its {common}"
            )
    return shown


def _label(metric):
    return (metric or "").replace("val_", "validation ").replace("_", " ")


def _summary(runs, metric):
    columns = ["run", "last", "lowest", "FLOPs", "small model's FLOPs"]
    columns += ["time", "tokens", "parameters", "growths"]
    if metric:
        columns[1:3] = [f"last {metric}", f"lowest {metric}"]
    rows = []
    for run in runs:
        _drop_senseless_ledger(run)
        values = run.columns.get(metric, [])
        spent = {u: _spent(run, u) for u in ("flops", "seconds", "tokens")}
        parameters = _last(run, "parameters")
        if parameters is None and run.growths:
            parameters = run.growths[-1].get("parameters", [None])[-1]
        rows.append(
            [
                run.name,
                f"{values[-1]:.4f}" if values else "",
                f"{min(values):.4f}" if values else "",
                _said(spent["flops"], flops_text),
                "unknown" if run.source is None else flops_text(run.source),
                _said(spent["seconds"], seconds_text),
                _said(spent["tokens"], "{:,.0f}".format),
                _said(parameters, "{:,.0f}".format),
                f"{max(len(run.growths), len(run.marks))}",
            ]
        )
    return html_page.table(columns, rows)


def _drop_senseless_ledger(run):
    """Leaves out a record of costs whose entries are no numbers."""
    if run.ledger is None:
        return
    try:
        _stages(run.ledger)
        for unit in ("flops", "seconds", "tokens"):
            run.ledger.total(unit)
    except Exception as error:
        run.ledger = None
        run.notes.append(f"its stages make no sense: {error}")


def _about(run):
    """A run's growths, its stages, and where they are recorded."""
    parts = []
    if run.growths:
        parts += [html_page.heading(f"Growths of {run.name}"), _growths(run)]
    if run.ledger is not None:
        parts += [
            html_page.heading(f"Stages of {run.name}"),
            _stages(run.ledger),
        ]
    parts.append(
        html_page.note(f"{run.name}: read from {', '.join(run.sources)}")
    )
    parts += [html_page.note(f"{run.name}: {said}") for said in run.notes]
    return parts


def _growths(run):
    columns = ["what", "strategy", "step", "parameters", "function kept"]
    columns += ["relative difference", "time", "memory"]
    rows = [
        [
            growth["label"],
            growth["strategy"],
            _said(growth["step"], "{:,}".format),
            _said(growth.get("parameters"), "{0[0]:,} to {0[1]:,}".format),
            "yes" if growth["exact"] else "no",
            _said(growth.get("difference"), "{:.1e}".format),
            seconds_text(growth["seconds"]),
            _said(growth.get("peak"), bytes_text),
        ]
        for growth in run.growths
    ]
    return html_page.table(columns, rows, words=(0, 1))


def _stages(ledger):
    columns = ["stage", "steps", "tokens", "FLOPs", "time", "parameters"]
    rows = [
        [
            stage.name + (" (source)" if stage.source else ""),
            f"{stage.steps:,}",
            f"{stage.tokens:,}",
            flops_text(stage.flops),
            seconds_text(stage.seconds),
            f"{stage.parameters:,}",
        ]
        for stage in ledger.stages
    ]
    return html_page.table(columns, rows)


def _spent(run, unit):
    last = _last(run, unit)
    if last is None and run.ledger is not None:
        return run.ledger.total(unit)
    return last


def _last(run, name):
    values = run.columns.get(name)
    return values[-1] if values else None


def _said(value, written):
    return "" if value is None else written(value)
