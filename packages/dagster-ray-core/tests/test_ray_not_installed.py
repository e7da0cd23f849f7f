"""A step in a Python without ray fails before anything is created, and says what to install."""

import json
import os
import subprocess
import sys
from pathlib import Path

from probe_clusters import journal_lines

# Every finder is asked before it is put away, so `find_spec` really finds nothing, as in an environment
# without ray; an entry of None in `sys.modules` would make it raise instead. Dagster looks for the finders that
# Python itself has put there (1.12), so it loads first; it does not load ray.
RUN = """
import json
import sys

import dagster as dg

class WithoutRay:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "ray" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [WithoutRay(finder) for finder in sys.meta_path]

from dagster_ray.core import RayResource
from probe_clusters import ProbeCluster

@dg.asset
def train(ray_cluster: RayResource) -> None:
    raise AssertionError("the step ran")

with dg.DagsterInstance.ephemeral() as instance:
    cluster = ProbeCluster(journal=sys.argv[1])
    result = dg.materialize([train], instance=instance, resources={"ray_cluster": cluster}, raise_on_error=False)
    events = [entry.to_json() for entry in instance.all_logs(result.run_id)]
print(json.dumps([result.success, events]))
"""


def test_the_run_fails_before_create_with_the_remedy_in_its_event_log(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(journal)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": here},
    )
    assert done.returncode == 0, done.stderr
    success, events = json.loads(done.stdout.splitlines()[-1])
    log = "\n".join(events)
    assert not success
    assert "RayNotInstalledError: Probe probe needs ray in the environment of the Dagster step" in log
    assert "pip install 'ray[client]', in the version that the cluster runs." in log
    assert {line["did"] for line in journal_lines(journal)} <= {"cleanup"}
