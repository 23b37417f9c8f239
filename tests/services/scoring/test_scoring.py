"""Offline scoring: the numbers of serving, and every row that goes in comes out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scoring.inputs import Layout, TableError
from services.scoring.run import Summary, schema_of, scored_tables
from services.scoring.sinks import Sink, SinkError
from services.scoring.sources import Query, SourceError, is_query, open_file
from streams.codecs import codecs
from streams.serving import Served, Serving
from streams.task import Task
from streams.version import Version
from tests.streams.tasks import KINDS, START, batch_of, by_topic, task_of
from tests.streams.versions import version_of

NOW = START + 5000
FIELDS = ("status", "answer", "probability", "probabilities", "gate_decision", "gate_score",
          "explored", "model_propensity", "version", "dataset_id", "role")  # fmt: skip


@lru_cache
def version(kind: str) -> Version:
    return version_of(task_of(kind))


def requests(n: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(3)
    return [
        {
            "request_id": f"r{i}",
            "event_time": START + i,
            "entity": None if i % 2 else f"shop-{i}",
            "features": {
                "size": float(draw.uniform(0, 110)),  # above 100 it is refused
                "age": None if i % 5 == 0 else int(draw.integers(0, 90)),
                "fresh": (None, True, False)[i % 3],
                "colour": (None, "red", "green", "violet")[i % 4],
                "shop": ("x", "y", "elsewhere")[i % 3],
            },
        }
        for i in range(n)
    ]


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    plain = [{**{k: v for k, v in row.items() if k != "features"}, **row["features"]}
             for row in rows]  # fmt: skip
    made = pa.Table.from_pylist(plain)
    at = made.schema.get_field_index("event_time")
    times = made["event_time"].cast(pa.timestamp("ms", "UTC"))
    return made.set_column(at, "event_time", times)


def served(task: Task, rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What serving answers to these requests, by id."""
    known = codecs(task)
    current = Served(version(task.kind), "champion")
    serving = Serving(task, known, lambda: current, "1", lambda: NOW)
    values = known["request"].write_many(rows)
    result = serving(batch_of(f"{task.name}.requests", values))
    found = [known["prediction"].read(v) for _, v, _ in by_topic(result.outputs)["predictions"]]
    return {record["request_id"]: record for record in found}


def write(path: Path, rows: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
        return path
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(rows.column_names)
        out.writerows(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    return path


def scored(task: Task, path: Path, out: Path, summary: Summary | None = None) -> list[Any]:
    with Sink(out, schema_of(task.kind)) as sink:
        given_ = open_file(path), NOW, Summary() if summary is None else summary
        for made in scored_tables(task, version(task.kind), "champion", *given_):
            sink.write(made)
    if out.suffix == ".parquet":
        found: list[Any] = pq.read_table(out).to_pylist()
        return found
    with out.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_gets_the_numbers_that_serving_gives(kind: str, ending: str, tmp_path: Path) -> None:
    task = task_of(kind, exploration=0.3)
    rows = requests(80)
    wanted = served(task, rows)
    file = write(tmp_path / f"in{ending}", table(rows))
    summary = Summary()
    found = scored(task, file, tmp_path / "out.parquet", summary)
    assert [row["request_id"] for row in found] == [row["request_id"] for row in rows]
    assert {row["status"] for row in found} == {"answered", "deferred", "rejected"}
    for row in found:
        answer = wanted[row["request_id"]]
        assert row["reason"] == answer["reason"]
        if row["status"] == "rejected":
            assert answer["status"] == "rejected"
            continue
        assert {name: row[name] for name in FIELDS} == {name: answer[name] for name in FIELDS}
    assert summary.rows == len(rows) == sum(summary.statuses.values())


def test_csv_answers_read_back_as_the_same_numbers(tmp_path: Path) -> None:
    task = task_of("multiclass")
    file = write(tmp_path / "in.csv", table(requests(30)))
    exact = scored(task, file, tmp_path / "out.parquet")
    texts = scored(task, file, tmp_path / "out.csv")
    for row, text in zip(exact, texts, strict=True):
        if row["probability"] is None:
            assert text["probability"] == ""
            continue
        assert float(text["probability"]) == row["probability"]
        assert json.loads(text["probabilities"]) == row["probabilities"]
        assert text["event_time"].endswith("Z")


def test_rows_that_are_no_requests_are_told_of_with_their_reasons(tmp_path: Path) -> None:
    lines = [
        b"size,age,fresh,colour,shop,remark",
        b"1.5,3,true,red,x,good",
        b"wide,3,true,red,x,no number",
        b"1.5,3.5,perhaps,red,x,two problems",
        b",3,true,red,x,size is never null",
        b"1.5,3,true,red",
        b"1.5,3,true,red,\xff,bad text",
        b"1e3,3,true,red,x,out of range",
        b"2,\\N,,violet,z,good too",
    ]
    file = tmp_path / "in.csv"
    file.write_bytes(b"\n".join(lines) + b"\n")
    summary = Summary()
    found = scored(task_of(), file, tmp_path / "out.parquet", summary)
    assert [row["row"] for row in found] == list(range(1, 9))
    assert [row["status"] == "rejected" for row in found] == [False, *[True] * 6, False]
    assert [row["reason"] for row in found[1:7]] == [
        "invalid: size: 'wide' is not a number",
        "invalid: age: '3.5' is not a whole number; fresh: 'perhaps' is neither true nor false",
        "invalid: size is missing; the task says that it is never null",
        "invalid: it has 4 values for 6 columns",
        "invalid: it is not UTF-8",
        "invalid: size is 1000.0, above 100 m",
    ]
    assert [row["request_id"] for row in found][:2] == ["row-1", "row-2"]
    assert summary.plain()["rejected"] == 6
    assert list(summary.refused) == [2, 3, 4, 5, 6]


CELLS = st.one_of(
    st.sampled_from(["", "1", "-1", "3.0", "nan", "inf", "true", "x", "red", "\\N", '"', ","]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=7), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_that_goes_in_comes_out(tmp_path: Path, rows: list[list[str]]) -> None:
    task = task_of()
    file = tmp_path / "in.csv"
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(["size", "age", "fresh", "colour", "shop", "event_time"])
    out.writerows(rows)
    file.write_text(text.getvalue(), newline="")
    summary = Summary()
    made = list(scored_tables(task, version("binary"), "champion", open_file(file), NOW, summary))
    numbers = [number for one in made for number in one["row"].to_pylist()]
    assert numbers == list(range(1, len(rows) + 1))
    for one in made:
        for status, reason in zip(
            one["status"].to_pylist(), one["reason"].to_pylist(), strict=True
        ):
            assert (status == "answered") == (reason is None)


def test_a_table_without_a_feature_is_refused_whole_and_names_it() -> None:
    with pytest.raises(TableError, match="no column size, shop, which the task binary_task needs"):
        Layout.of(task_of(), ["age", "features.colour"])
    assert Layout.of(task_of(), ["features.size", "shop"]).absent == ["age", "fresh", "colour"]


def test_an_answer_that_arrow_streams_is_read_in_pieces_of_any_size() -> None:
    rows = table(requests(20))
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, rows.schema) as out:
        out.write_table(rows, max_chunksize=7)
    data = buffer.getvalue()
    pieces = (data[at : at + 13] for at in range(0, len(data), 13))
    source = Query("SELECT 1", lambda text, form: pieces)
    assert pa.concat_tables(chunk.table for chunk in source.chunks()).equals(rows)


def test_a_file_of_answers_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    sink = Sink(out, schema_of("binary")).__enter__()
    assert out.read_text() == "of yesterday"
    sink.__exit__(RuntimeError, RuntimeError(), None)
    assert out.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(SinkError, match="must end in"):
        Sink(tmp_path / "out.xls", schema_of("binary"))


def test_files_and_queries_are_told_apart(tmp_path: Path) -> None:
    assert is_query(" SELECT 1")
    assert is_query("with x as (select 1) select * from x")
    assert not is_query("select.csv")
    with pytest.raises(SourceError, match="there is no file"):
        open_file(tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SourceError, match="is empty"):
        open_file(tmp_path / "empty.csv")
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(SourceError, match="no Parquet file"):
        open_file(tmp_path / "no.parquet")
