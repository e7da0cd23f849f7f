"""One error of each kind, as the error pages show it."""

from dagster_ray.core import DagsterRayError
from dagster_ray.core import errors as core_errors
from dagster_ray.kuberay import errors
from dagster_ray.local import SharedClusterError
from dagster_ray.pipes import errors as pipes_errors

CORE_SAMPLES: dict[str, DagsterRayError] = {
    sample.code: sample
    for sample in (
        core_errors.NotARayResourceError(
            "`sum_of_squares`, parameter `ray_cluster`,",
            "str",
            (
                *("address", "cleanup", "connect", "context", "create", "dashboard_url", "display_name", "job_id"),
                *("lifecycle", "wait"),
            ),
        ),
        core_errors.UnknownFieldError("LocalRay", "num_cpu", "num_cpus", ("num_cpus", "num_gpus")),
        core_errors.InvalidFieldError(
            "runtime_env.env_vars.WORKERS",
            "is an int, but the value of an environment variable is text",
            "write text, in quotes where YAML would read something else",
        ),
        core_errors.MissingVariableError("TEAM", "metadata.labels.team"),
        core_errors.InvalidVariableError("MAX_WORKERS", "spec.workerGroupSpecs[0].maxReplicas", "a whole number"),
        core_errors.BackendNotFoundError("slurm", ("local",), None),
        core_errors.BackendBrokenError(
            "slurm",
            "slurm_ray:SlurmRay",
            "slurm-ray",
            "ModuleNotFoundError: No module named 'slurm_ray'",
            "reinstall slurm-ray with its dependencies",
        ),
        core_errors.RayNotInstalledError("LocalRay (process 4711)", "ray[default]"),
        core_errors.NotCreatedError("LocalRay (process 4711)", "connect"),
        core_errors.NotConnectedError(
            "LocalRay (process 4711)",
            "job_id",
            "its phases did not run; Dagster runs them for a step unless the lifecycle switches them off",
        ),
        core_errors.NotReadyError("Ray at head:10001", 600.0, "ray://head:10001: [Errno 111] Connection refused"),
        core_errors.ConnectFailedError(
            "Ray at head:10001", "ray://head:10001", 3, "ConnectionError: ray client connection timeout"
        ),
        core_errors.DriverInUseError("RayJob ray/etl", "10.0.0.1:6379"),
        core_errors.ObjectMissingError(
            "The asset prices",
            ("2026-01-01",),
            "no step of this run has left it in this cluster",
            "the step of the asset prices",
        ),
        core_errors.CleanupFailedError("RayCluster ray/train", "TimeoutError: no answer within 20 s"),
    )
}

TARGET = "RayJob ray/dagster-4f0c1e2d-8a9b0c1d"

KUBERAY_SAMPLES: dict[str, DagsterRayError] = {
    sample.code: sample
    for sample in (
        errors.SpecRefusedError(
            TARGET,
            "ValidationFailed",
            "The RayJob spec is invalid: BackoffLimit is incompatible with InteractiveMode",
        ),
        errors.RayJobEndedError(
            TARGET,
            "Failed",
            "PreRunningDeadlineExceeded",
            "The RayJob has passed the preRunningDeadlineSeconds. StartTime: 2026-11-24 10:00:00 +0000 UTC. "
            "PreRunningDeadlineSeconds: 660",
        ),
        errors.ClusterGoneError(TARGET, "it was deleted by somebody else"),
        errors.CannotStartError(
            TARGET,
            "image-not-found",
            "ErrImagePull",
            "docker.io/rayproject/ray:2.6: not found",
            "Correct the image's name and tag, and see that the registry has it.",
        ),
        errors.OperatorSilentError(TARGET, 600.0),
        errors.RightsMissingError(
            "ray", (("delete", "rayjobs.ray.io"), ("create", "pods/portforward")), ("interactive", "port-forward")
        ),
        errors.QueueTimeoutError(TARGET, "the queue 'team-a' has not admitted it yet", 3600.0),
        errors.PoolBusyError("train", 900.0, 4, 4),
        errors.NameTakenError("RayJob ray/nightly"),
        errors.WriteDeniedError(
            "RayCluster ray/dagster-4e56abbf94-1",
            "The lock of this step (annotation dagster/lock-0f1e2d3c4b5a)",
            'admission webhook "validate.kyverno.svc-fail" denied the request: updates are frozen',
        ),
        errors.FieldNotSupportedError(TARGET, "spec.deletionStrategy"),
        errors.VersionMismatchError(TARGET, "Ray", "2.60.0", "2.59.1"),
        errors.TokenRequiredError(TARGET, "401 Unauthorized: Missing authentication token"),
        errors.InvalidSpecError(
            "spec.ttlSecondsAfterFinished",
            "is 60 while shutdownAfterJobFinishes is false",
            "leave shutdownAfterJobFinishes out, or the ttl",
            "KubeRay >= 1.4",
        ),
        errors.SpecFileError(
            "job.yaml", "kind", "'Pod' is neither RayJob nor RayCluster", "name a file with one of these kinds"
        ),
        errors.KubeconfigError(
            "the kubeconfig /home/me/.kube/config",
            "there is no such file",
            "set `kubeconfig_file` on the resource, or KUBECONFIG in the environment, to an existing file",
        ),
        errors.CredentialsError(
            "user ci of the kubeconfig /etc/dagster/kubeconfig",
            "the token file /etc/dagster/token cannot be read (FileNotFoundError)",
            "write a token into that file, and let the step's user read it",
        ),
        errors.ExecPluginError("aws", "failed with exit code 255", "The SSO session has expired. Run: aws sso login"),
        errors.ServerTimeUnknownError("https://api.example:6443"),
        errors.KubernetesError("create", "rayjobs.ray.io", "ray", "nightly", 413, "Request entity too large"),
        errors.KubernetesAnswerError(
            "list", "rayclusters.ray.io", "ray", None, 200, "200 Sign in to Example with your company account"
        ),
        errors.UnauthorizedError("create", "rayjobs.ray.io", "ray", "nightly", 401, "Unauthorized"),
        errors.ForbiddenError(
            "create",
            "rayjobs.ray.io",
            "ray",
            "nightly",
            403,
            'rayjobs.ray.io is forbidden: User "dagster" cannot create resource "rayjobs" in API group "ray.io" in the '
            'namespace "ray"',
        ),
        errors.NotFoundError("create", "rayjobs.ray.io", "rai", "nightly", 404, 'namespaces "rai" not found'),
        errors.KindNotInstalledError("create", "rayjobs.ray.io", "ray", "nightly", 404, "404 page not found"),
        errors.ConflictError(
            "delete",
            "rayjobs.ray.io",
            "ray",
            "nightly",
            409,
            "the UID in the precondition (5d41402a) does not match the UID in record (7b8b965a)",
        ),
        errors.InvalidObjectError(
            "create",
            "rayjobs.ray.io",
            "ray",
            "nightly",
            422,
            'RayJob.ray.io "nightly" is invalid: spec.backoffLimit: Invalid value: "string"',
            (("spec.backoffLimit", 'Invalid value: "string"'),),
        ),
        errors.UnavailableError("create", "rayjobs.ray.io", "ray", "nightly", 503, "503 apiserver not ready", 41),
        errors.ClientPortClosedError(TARGET, "dagster-4f0c1e2d-8a9b0c1d-x7k2p-head-svc.ray.svc:10001", 600.0),
    )
}

SERVER = "http://ray-head:8265"
JOB = "dagster-4f0c1e2d-8a9b0c1d2e3f-0"

PIPES_SAMPLES: dict[str, DagsterRayError] = {
    sample.code: sample
    for sample in (
        pipes_errors.JobServerUnavailableError(SERVER, "GET /api/version", 30.0, "ConnectTimeoutError: timed out"),
        pipes_errors.JobServerRefusedError(
            SERVER, "POST /api/jobs/", 401, "Unauthorized: Missing authentication token"
        ),
        pipes_errors.JobServerAnswerError(SERVER, "GET /api/version", 200, "<html> Please log in"),
        pipes_errors.SubmissionRefusedError(SERVER, JOB, "ValueError: Invalid label selector"),
        pipes_errors.JobExistsError(SERVER, "nightly"),
        pipes_errors.JobNotFoundError(SERVER, "nightly"),
        pipes_errors.RayJobFailedError(
            JOB, "FAILED", "Job entrypoint command failed with exit code 3", 3, ("loading data", "KeyError: 'price'")
        ),
        pipes_errors.JobLostError(JOB, SERVER, "the node 1b2c3d of its driver is dead"),
        pipes_errors.PipesContextTooLargeError("DAGSTER_PIPES_CONTEXT", 140000, 98304),
        pipes_errors.PipesMessagesMissingError(JOB, True, "all that it wrote was read"),
        pipes_errors.PackageTooLargeError("project", 104857600, (("data/prices.parquet", 734003200),)),
        pipes_errors.StepNotMovableError(
            "The step prices",
            "the IO manager of its output `result` keeps values in memory, and another step needs this one",
            "give it an IO manager that both processes reach, such as FilesystemIOManager(base_dir=...) on a shared "
            "volume, or one of a bucket or a database",
        ),
        pipes_errors.DriverStartError(
            JOB,
            "the cluster's Python has no module dagster",
            "let the cluster run the image of the code location, or set driver_code='upload' to send the working "
            "folder; the whole traceback is in the step's compute logs",
        ),
        pipes_errors.DriverSetupError(JOB, "it could not be set up: ConnectionError: no database here"),
        pipes_errors.DriverEventsMissingError(JOB, "SUCCEEDED", "", ("loading prices",)),
        pipes_errors.DriverElsewhereError(TARGET, "address"),
    )
}

LOCAL_SAMPLE = SharedClusterError("its process ended with 1.", "read /tmp/dagster-ray-1000/0123456789ab.log")

SAMPLES: dict[str, DagsterRayError] = {
    **CORE_SAMPLES,
    **KUBERAY_SAMPLES,
    **PIPES_SAMPLES,
    LOCAL_SAMPLE.code: LOCAL_SAMPLE,
}
