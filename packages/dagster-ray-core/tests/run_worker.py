"""Executes runs one after the other as Dagster's run worker does, for tests that send signals to it.

Each line of stdin is a run: `{"job": ..., "run_config": ..., "home": ...}`. The answer on stdout is the run's
status as the worker knows it at the end.
"""

import json
import sys

import dagster as dg
import probe_jobs
from dagster._core.execution.api import execute_run_iterator
from dagster._utils.interrupts import capture_interrupts


def execute(job_name: str, run_config: dict[str, object], home: str) -> str:
    job = dg.reconstructable(getattr(probe_jobs, job_name))
    with capture_interrupts(), dg.DagsterInstance.from_config(home) as instance:
        run = instance.create_run_for_job(job.get_definition(), run_config=run_config)
        try:
            for _event in execute_run_iterator(job, run, instance):
                pass
        except dg.DagsterExecutionInterruptedError:
            return "interrupted"
        return "done"


if __name__ == "__main__":
    for line in sys.stdin:
        order = json.loads(line)
        answer = execute(order["job"], order["run_config"], order["home"])
        print("answer:", answer, flush=True)
