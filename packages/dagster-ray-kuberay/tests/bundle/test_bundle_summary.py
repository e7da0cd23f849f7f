"""Which cause the summary of a bundle names, of facts as they were read."""

from typing import Any

import pytest

from dagster_ray.core.failures.causes import Failure, Judgement
from dagster_ray.kuberay._bundle.collected import About, Collected
from dagster_ray.kuberay._bundle.summary import cause_of, summary_lines

WHY = "ValueError: odd number 3"
OF_TASK = "ray.exceptions.RayTaskError(ValueError): ray::square() (pid=7, ip=10.0.0.7)\nValueError: odd number 3\n"
OF_METHOD = "ray::Counter.add() (pid=7, ip=10.0.0.7, actor_id=1, repr=<Counter>)\nValueError: odd number 3\n"
NOW, LONG_AGO, JUST_NOW = "2026-01-01T12:00:00Z", "2026-01-01T09:00:00Z", "2026-01-01T11:58:00Z"


def cause(error: str, **more: Any) -> str:
    about = About("run", "job", "RayCluster ray/a", "in the step", NOW, {})
    failure = Failure("model", error, Judgement("user", WHY))
    return cause_of(Collected(about=about, failure=failure, raycluster={"metadata": {"name": "a"}}, **more))


@pytest.mark.parametrize(
    ("error", "tasks", "expected"),
    [
        pytest.param(OF_TASK, [{"name": "square"}], f"task square failed: {WHY}", id="the task of the error"),
        pytest.param(OF_METHOD, [{"name": "Counter.add"}], f"task Counter.add failed: {WHY}", id="a method"),
        pytest.param(
            OF_TASK,
            [{"name": "odd one", "func_or_class_name": "square"}],
            f"task odd one failed: {WHY}",
            id="a task with a name of its own",
        ),
        pytest.param(
            f"ray::outer() (pid=6, ip=10.0.0.7)\n{OF_TASK}",
            [{"name": "outer"}, {"name": "square"}, {"name": "outer"}],
            f"task square failed: {WHY}",
            id="a task of a task",
        ),
        pytest.param(OF_TASK, [{"name": "cube"}], WHY, id="another task"),
        pytest.param(OF_TASK, [{"name": "e"}, {"name": "odd"}], WHY, id="names that are words of the error"),
        pytest.param(OF_TASK, [], WHY, id="no task is known"),
        pytest.param("ValueError: square(3)", [{"name": "square"}], WHY, id="an error of the body"),
    ],
)
def test_a_task_is_named_only_if_the_error_is_its_own(error: str, tasks: list[dict[str, Any]], expected: str) -> None:
    assert cause(error, tasks=tasks) == expected


@pytest.mark.parametrize(("time", "is_named"), [(JUST_NOW, True), (LONG_AGO, False)])
def test_a_pod_that_was_lost_hours_ago_is_no_cause(time: str, is_named: bool) -> None:
    end = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": time}}
    status = {"containerStatuses": [{"name": "ray-worker", "restartCount": 1, "lastState": end}]}
    said = cause("ValueError: odd number 3", pods=[{"metadata": {"name": "a-worker-1"}, "status": status}])
    assert ("was killed for want of memory" in said) is is_named


def test_the_traceback_and_the_colors_of_a_task_are_not_in_the_summary() -> None:
    """Ray colors the name of a task, and puts its traceback into the error that the step gets."""
    error = (
        "ray.exceptions.RayTaskError(ValueError): \x1b[36mray::square()\x1b[39m (pid=7, ip=10.0.0.7)\n"
        '  File "job.py", line 3, in square\nValueError: odd number 3\n'
    )
    about = About("run", "job", "RayCluster ray/a", "in the step", NOW, {})
    failure = Failure("model", error, Judgement("user", f"RayTaskError(ValueError): {error}"))
    lines = dict(summary_lines(Collected(about=about, failure=failure, tasks=[{"name": "square"}])))
    assert lines["Cause"] == "task square failed: ValueError: odd number 3"
    unknown = dict(summary_lines(Collected(about=about, failure=failure)))
    assert "ray::square() (pid=7" in unknown["Cause"]
    assert "\x1b" not in unknown["Cause"]
