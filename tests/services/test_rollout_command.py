"""``weir rollout``: what it lists and explains, on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunningBroker
from tests.services.command_line import deploy
from tests.services.running_console import decision


@pytest.mark.system
def test_decisions_are_listed_newest_first_and_explained(
    broker: RunningBroker, tmp_path: Path
) -> None:
    deployment = deploy(tmp_path, broker.bootstrap)
    codec = deployment.codec("decision")
    for one in (decision(), decision(decision_id="bbbb2222", action="ended", value=None)):
        deployment.produce("decisions", one["decision_id"], codec.write(one))
    (rows,) = deployment.weir_json("rollout")
    assert [row["action"] for row in rows] == ["ended", "promoted"]
    assert rows[1]["decided_at"] == "2013-03-01T04:00:00.000Z"
    assert "evidence" not in rows[1]
    (told,) = deployment.weir_json("rollout", "explain", "5f0c21")
    assert told["evidence"]["estimates"][0]["n"] == 1200
    said = deployment.weir("rollout", "explain", "5f0c21").stdout
    assert "v2 is better than v1" in said
    assert "v2: canary > champion" in said
    assert "-0.0200, between -0.0300 and -0.0100" in said
    unknown = deployment.weir("rollout", "explain", "cccc")
    assert unknown.returncode == 1
    assert "there is no decision cccc" in unknown.stderr
