"""What a Ray backend can promise."""

from enum import StrEnum


class Capability(StrEnum):
    """One promise of a Ray backend. The values are sentences of the guide for authors.

    A backend promises all of them except those that its contract class lists in `lacks`.
    """

    STRICT_CONFIG = "A misspelled field is refused, and the error names it."
    SAME_CONFIG = "The step gets the configuration that the code location gave."
    NOT_CONNECTED = "`context` and `job_id` raise NotConnectedError while no driver is connected."
    BARE_ANNOTATION = "A parameter annotated `RayResource` gets the connected cluster."
    JOB_ID = "`job_id` is Ray's id of this step's driver."
    DASHBOARD = "`dashboard_url` is the URL of the cluster's dashboard."
    REMOTE_TASKS = "Remote tasks run on the cluster."
    TASK_OUTPUT = "What remote tasks print reaches the step's output."
    RECONNECTION = "When a resource has disconnected, another one can connect in the same process."
    PROCESS_STATE = "Signal handlers stay in place, and environment variables are restored."
    LIFECYCLE = "A phase that the lifecycle switches off is left to the step."
    PHASES_IN_STEP = "A step can call `create`, `wait`, `connect` and `cleanup` itself."
    AFTER_RUN = "Nothing is created for a run that has ended."
    CLEANUP = "It makes a cluster of its own and deletes it when the lifecycle says so."
    REPEATED_CLEANUP = "A second `cleanup` does nothing."
    KEPT_CLUSTER = "A cluster that the lifecycle keeps is there after the step."
    FAILED_SETUP = "A set-up that fails fails the step, and leaves neither a connection nor a cluster."
    DEADLINE = (
        "Create, wait and connect together give up on a cluster that never becomes ready after `timeout` seconds."
    )
    TERMINATION = "SIGTERM ends a run in time, and what the run made is deleted."
    MULTIPROCESS = "It works in the processes of the multiprocess executor."
    SHARING = "Two resources of one configuration meet on one cluster, and the first to leave does not end it."
    DRIVER_IN_CLUSTER = "With `driver='cluster'` the body of a step runs as a job in the cluster."
    ADOPTION = "A cluster that exists already is used, and never deleted."
