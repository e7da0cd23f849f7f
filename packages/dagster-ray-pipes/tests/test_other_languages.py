"""A job that is not written in Python: what it reports arrives, in either channel."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ray_like_server import RayLike

from dagster_ray.pipes import PipesRayJobClient

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# What Dagster's guide for JavaScript does: decode where messages go, and append an object for each.
SCRIPT = """
import base64, json, os, sys, zlib
where = json.loads(zlib.decompress(base64.b64decode(os.environ["DAGSTER_PIPES_MESSAGES"])))
def say(method, params):
    text = json.dumps({"method": method, "params": params}) + chr(10)
    if "path" in where:
        with open(where["path"], "a") as file:
            file.write(text)
    else:
        print(text, end="", file=sys.stderr, flush=True)
print('{"jsonrpc": "2.0", "method": "log", "params": {"message": "of another program"}}', flush=True)
say("log", {"message": "from another language", "level": "info"})
say("report_asset_materialization", {"asset_key": "computed", "metadata": {"rows": {"raw_value": 3, "type": "int"}}})
say("report_asset_check", {"asset_key": "computed", "check_name": "few", "passed": True})
"""


@pytest.mark.parametrize("channel", ["file", "log"])
def test_what_a_writer_in_another_language_reports_arrives(
    ray: RayLike, tmp_path: Path, capsys: pytest.CaptureFixture[str], channel: Any
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    job = {"entrypoint": f"{sys.executable} {tmp_path / 'script.py'}"}

    @dg.asset(check_specs=[dg.AssetCheckSpec(name="few", asset="computed")])
    def computed(context: dg.AssetExecutionContext):
        client = PipesRayJobClient(ray.url, message_channel=channel)
        return client.run(context=context, ray_job=job)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([computed], instance=instance)
        texts = [entry.user_message for entry in instance.all_logs(result.run_id)]
    (made,) = result.asset_materializations_for_node("computed")
    assert made.metadata["rows"].value == 3
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert "from another language" in texts
    assert "of another program" in capsys.readouterr().out
