"""One error of each kind that a KubeRay cluster or a Ray job can cause, as the error pages show it."""

from dagster_ray.core import DagsterRayError
from dagster_ray.kuberay import errors
from dagster_ray.pipes import errors as pipes_errors

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
        errors.SpecFileError("job.yaml", "kind", "'Pod' is neither RayJob nor RayCluster"),
        errors.KubeconfigError("the kubeconfig /home/me/.kube/config", "there is no such file"),
        errors.CredentialsError(
            "user ci of the kubeconfig /etc/dagster/kubeconfig",
            "the token file /etc/dagster/token cannot be read (FileNotFoundError)",
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
        errors.GoneError("list", "rayjobs.ray.io", "ray", None, 410, "The provided continue parameter is too old"),
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
        pipes_errors.InvalidSubmissionError(
            "entrypoint_num_cpu", "is no field of a Ray job; did you mean `entrypoint_num_cpus`?"
        ),
        pipes_errors.SubmissionRefusedError(SERVER, JOB, "ValueError: Invalid label selector"),
        pipes_errors.JobExistsError(SERVER, "nightly"),
        pipes_errors.JobNotFoundError(SERVER, "nightly"),
        pipes_errors.RayJobFailedError(
            JOB, "FAILED", "Job entrypoint command failed with exit code 3", 3, ("loading data", "KeyError: 'price'")
        ),
        pipes_errors.JobLostError(JOB, SERVER, "the node 1b2c3d of its driver is dead"),
        pipes_errors.PipesContextTooLargeError("DAGSTER_PIPES_CONTEXT", 140000, 98304),
        pipes_errors.PipesMessagesMissingError(JOB, True, "all that it wrote was read"),
        pipes_errors.PackageNotFoundError("runtime_env.working_dir", "jobs", "it is no folder and no zip file"),
        pipes_errors.PackageTooLargeError("project", 104857600, (("data/prices.parquet", 734003200),)),
    )
}
