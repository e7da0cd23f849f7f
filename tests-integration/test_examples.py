"""The examples with Pipes, on a real head: what their pages promise happens."""

# Dagster's events are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import os
import subprocess
import sys
from pathlib import Path

from real_head import Head

TRAINING = Path(__file__).parents[1] / "examples/pipes_training"
PATIENCE_SECONDS = 240
RUN = "0d5e9b0c-6a5e-4b7a-9d6f-0b5b3a1c2d3e"
TRAIN = f"""
import json
import definitions as example

job = example.definitions.resolve_implicit_global_asset_job_def()
config = {{"ops": {{"line": {{"config": {{"epochs": 100}}}}}}}}
result = job.execute_in_process(run_id="{RUN}", run_config=config)
(event,) = result.get_asset_materialization_events()
(check,) = result.get_asset_check_evaluations()
metadata = {{name: value.value for name, value in event.materialization.metadata.items()}}
print("FOUND", json.dumps([metadata, check.check_name, check.passed]), flush=True)
"""


def test_a_training_job_goes_on_from_its_runs_checkpoint_and_decides_the_check(head: Head, tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    checkpoint = {"slope": 2.0, "intercept": 1.5, "epoch": 40, "loss": 0.01}
    (tmp_path / RUN / "line.json").write_text(json.dumps(checkpoint), encoding="utf-8")
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=TRAINING,
        env={
            **os.environ,
            "PATH": os.pathsep.join((bin_folder, os.environ["PATH"])),
            "RAY_AUTH_MODE": "disabled",
            "RAY_JOB_SERVER": head.dashboard,
            "CHECKPOINTS": str(tmp_path),
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    metadata, check, passed = json.loads(line.removeprefix("FOUND "))
    assert (check, passed) == ("loss_is_low", True)
    assert (metadata["resumed_at"], metadata["epoch"]) == (40, 100)
    assert metadata["loss"] < 0.01
    saved = json.loads((tmp_path / RUN / "line.json").read_text(encoding="utf-8"))
    assert saved["slope"] == metadata["slope"]
