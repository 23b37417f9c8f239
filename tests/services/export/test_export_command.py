"""``weir export`` and ``weir score`` in a home whose system is down: an id is enough."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.contract import Contract, record
from services.deployment import remember
from streams.bundle import save_bundle
from streams.settings import Settings
from streams.training.train import train
from tests.services.command_line import weir
from tests.small_tasks import DIABETES, patients

ROOT = Path(__file__).parents[3]
KEY = "a test's key"


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        reference = f"{ROOT}/tests/small_tasks.py:DIABETES"
        contract = Contract.of(DIABETES, reference)
        record(contract, folder / "home")
        nobody = Settings(
            home=folder / "home", bootstrap="127.0.0.1:1", task=reference, clickhouse_port=1
        )
        remember(nobody, contract)
        contents = train(DIABETES, patients(), "first").contents
        self.id = save_bundle(nobody.artifacts, DIABETES, contents, KEY.encode()).id

    def weir(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {"WEIR_HOME": str(self.folder / "home"), "WEIR_SIGNING_KEY": KEY}
        return weir(*arguments, env=env, cwd=self.folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("export"))


def test_a_version_is_exported_and_its_smaller_forms_are_told(home: Home) -> None:
    short = home.id.rpartition("-")[2][:6]
    done = home.weir("export", short, "--edge", "--out", "edge", "--quantise", "--distil", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["form"]) == (home.id, "distilled, float32")
    assert told["parity"]["holds"]
    assert told["held_out"] is False  # the history is what it was trained on, and it says so
    names = [form["form"] for form in told["forms"]]
    assert names[:2] == ["scikit-learn", "onnx"]
    assert names[-2:] == ["float32", "distilled, float32"]
    assert told["total_bytes"] == sum(p.stat().st_size for p in (home.folder / "edge").iterdir())


def test_a_file_is_scored_while_the_system_is_down(home: Home) -> None:
    patients().to_csv(home.folder / "in.csv", index=False)
    done = home.weir("score", "in.csv", "--version", home.id, "--out", "out.parquet")
    assert done.returncode == 0, done.stderr
    assert "442 rows" in done.stderr
    found = pq.read_table(home.folder / "out.parquet").to_pylist()
    assert {row["version"] for row in found} == {home.id}
    assert all(row["answer"] is not None for row in found)


def test_who_is_champion_is_not_known_without_a_broker(home: Home) -> None:
    (home.folder / "one.csv").write_text("age,bmi,bp,female\n1,2,3,true\n")
    done = home.weir("score", "one.csv", "--out", "out.csv")
    assert done.returncode == 1
    assert "no broker answers" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home.folder / "out.csv").exists()
