"""``weir export``: a version in ONNX, alone or in a folder that runs without Weir."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, out, print_json, print_table, table
from services.command.score import open_source
from services.command.versions import Chosen, choose

if TYPE_CHECKING:
    from services.export.judge import Form
    from services.export.rows import Rows

FEWER = (0.5, 0.25)
"""Shares of its trees that a boosted model or a forest is tried with."""


def export(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="A role, a version's id or the beginning of one."),
    ],
    onnx: Annotated[bool, typer.Option("--onnx", help="One ONNX file.")] = False,
    edge: Annotated[
        bool, typer.Option("--edge", help="A folder that needs onnxruntime and numpy alone.")
    ] = False,
    where: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="File or folder; else named by the version.",
            show_default=False,
        ),
    ] = None,
    quantise: Annotated[
        bool, typer.Option("--quantise", help="In float32; forms with fewer trees are measured.")
    ] = False,
    distil: Annotated[
        bool, typer.Option("--distil", help="A small student of the version's answers instead.")
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|QUERY",
            help="Rows to compare and teach with, as for weir score; else the task's history.",
            show_default=False,
        ),
    ] = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version in ONNX, with proof that it gives the same answers.

    Its gate is in the file too. Size, speed and loss on held-out rows are told of each form. Needs
    the packages of weir[onnx].
    """
    if onnx == edge:
        raise CommandError("say what to write: --onnx (a file) or --edge (a folder)", code=2)
    try:
        import onnx as _  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise CommandError(
            f"{error.name} is not installed: install Weir's extra, weir[onnx]", code=2
        ) from error
    from services.export.edge import EdgeError
    from services.scoring.inputs import TableError
    from services.scoring.sources import SourceError
    from streams.portable.graph import NotConvertible

    context = open_context(task)
    chosen = choose(context, version)
    path = where or Path(f"{chosen.version.id}.onnx" if onnx else f"{chosen.version.id}-edge")
    try:
        found = _export(context, chosen, path, edge, quantise, distil, rows)
    except (TableError, SourceError, EdgeError) as error:
        raise CommandError(str(error), code=2) from error
    except NotConvertible as error:
        raise CommandError(
            f"{chosen.version.id} has no ONNX form: {error}; nothing was written"
        ) from error
    if as_json:
        print_json(found)
    else:
        _print(found)


def _export(
    context: Context,
    chosen: Chosen,
    path: Path,
    edge: bool,
    quantise: bool,
    distil: bool,
    given: str | None,
) -> dict[str, Any]:
    from services.export.edge import EdgeError, facts, write
    from services.export.judge import Form, judge
    from services.export.rows import of_history, of_source
    from streams.manifest import samples
    from streams.portable.convert import convert
    from streams.portable.parity import compare
    from streams.portable.session import Session
    from streams.version import Version

    task, loaded = chosen.task, chosen.version
    rows = (
        of_history(task, loaded)
        if given is None
        else of_source(task, loaded, open_source(context, given))
    )
    few = samples(loaded.manifest, task)
    # Beside scikit-learn as it serves without ONNX, whatever was chosen for this version.
    plain = Version(task, loaded.manifest, loaded.model, loaded.gate, samples=few)
    data = convert(task, loaded.model, few, loaded.gate, loaded.calibrator, _scale(loaded))
    parity = compare(plain, Session(data), rows.judged)
    if not parity.holds:
        raise CommandError(
            f"the ONNX form of {loaded.id} is off by {parity.largest:.1e} (at most "
            f"{parity.tolerance:.0e}) and changes {parity.decisions} answers; nothing was written"
        )
    forms = [Form("scikit-learn", plain), Form.onnx("onnx", plain, data)]
    forms += _smaller(plain, rows, data, quantise, distil)
    written = forms[1] if not (quantise or distil) else forms[-1]
    assert written.data is not None
    found: dict[str, Any] = {
        "version": loaded.id,
        "form": written.name,
        "parity": parity.plain(),
        "served_in": loaded.runtime,
        "held_out": rows.held_out,
        "rows": len(rows.judged),
        "forms": judge(forms, rows.judged, rows.truth),
    }
    if edge:
        classes = list(Session(written.data).classes_)
        sizes = write(path, written.data, facts(task, loaded, written.name, classes))
        return found | {"out": str(path), "bytes": sizes, "total_bytes": sum(sizes.values())}
    if path.is_dir():
        raise EdgeError(f"{path} is a folder: --onnx writes a file")
    draft = path.with_name(f".{path.name}.partial")
    draft.write_bytes(written.data)
    draft.replace(path)
    return found | {"out": str(path), "total_bytes": len(written.data)}


def _smaller(version: Any, rows: Rows, data: bytes, quantise: bool, distil: bool) -> Sequence[Form]:
    """Smaller forms, the one to be written last."""
    from services.export.forms import in_int8, rounded, taught, with_fewer_trees
    from services.export.judge import Form
    from streams.manifest import samples
    from streams.portable.convert import convert

    task, few = version.task, samples(version.manifest, version.task)
    found: list[Form] = []
    if quantise:
        for share in FEWER:
            fewer = with_fewer_trees(version.model, share)
            if fewer is not None:
                whole = convert(task, fewer, few, version.gate, version.calibrator, _scale(version))
                smaller = rounded(whole)
                found.append(Form.onnx(f"float32, {share:.0%} of the trees", version, smaller))
        small = rounded(data)
        bytes_ = in_int8(small)
        if bytes_ is not None:
            found.append(Form.onnx("int8", version, bytes_))
        found.append(Form.onnx("float32", version, small))
    if distil:
        pupil = taught(task, version, rows.taught)
        student = convert(task, pupil, few, version.gate, scale=_scale(version))
        if quantise:
            student = rounded(student)
        name = "distilled, float32" if quantise else "distilled"
        found.append(Form.onnx(name, version, student))
    return found


def _scale(version: Any) -> Any:
    """What a gate that foresees doubts scales them by, None of other gates."""
    return version.manifest["gate"].get("scale")


def _print(found: Mapping[str, Any]) -> None:
    parity = found["parity"]
    out.print(
        f"{found['out']}: {found['version']} as {found['form']}, {found['total_bytes']:,} bytes",
        soft_wrap=True,
    )
    out.print(
        f"parity: {parity['rows']:,} rows and {parity['made']} made ones within "
        f"{parity['largest']:.1e} (at most {parity['tolerance']:.0e}), no answer is another",
        soft_wrap=True,
    )
    losses = [name for name in ("log_loss", "mae", "error") if name in found["forms"][0]]
    numbers = ("bytes", "packed", "µs, 1 row", "µs, 500 rows", *losses, "changed")
    shown = table("form", *numbers, right=numbers)
    for form in found["forms"]:
        micros = form["microseconds"]
        shown.add_row(
            form["form"],
            *(f"{form[name]:,}" if name in form else "" for name in ("bytes", "packed_bytes")),
            *(f"{micros[size]:,.0f}" for size in ("1", "500")),
            *(f"{form[name]:.5f}" for name in losses),
            f"{form['changed']:.3%}" if "error" in losses else f"{form['changed']:.5f}",
        )
    print_table(shown)
    if not losses:
        note("the rows have no truths: what each form loses is not known")
    elif not found["held_out"]:
        note("the version may have been trained on these rows: give later ones (--rows)")
