"""Find the kubeconfig, or the service account of the pod, and read it."""

import os
from pathlib import Path

from dagster_ray.kuberay._kubernetes.errors import KubeconfigError
from dagster_ray.kuberay._kubernetes.kubeconfig import KubeconfigText, Settings, User, settings_of

_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_FILE = "~/.kube/config"
_NAME_ONE = "set `kubeconfig_file` on the resource, or KUBECONFIG in the environment, to an existing file"


def is_in_pod() -> bool:
    """Return whether this process runs in a pod with a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT_FOLDER / "namespace").exists()


def pod_settings() -> Settings:
    """Return what the pod's service account amounts to.

    Raises:
        KubeconfigError: Its files cannot be read.
    """
    source = "the pod's service account"
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
    return Settings(
        source=source,
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=_text(_ACCOUNT_FOLDER / "namespace", source).strip() or "default",
        user=User(token_file=str(_ACCOUNT_FOLDER / "token")),
        ca_file=str(_ACCOUNT_FOLDER / "ca.crt"),
    )


def read_settings(kubeconfig_file: str | None, context: str | None) -> Settings:
    """Return what a kubeconfig amounts to, as kubectl finds and reads it.

    Args:
        kubeconfig_file: The file; None for those of KUBECONFIG, or else ~/.kube/config.
        context: The context; None for the current one.

    Raises:
        KubeconfigError: There is none, or it cannot be used.
    """
    if kubeconfig_file is not None:
        source = f"the kubeconfig {kubeconfig_file}"
        path = Path(kubeconfig_file).expanduser()
        return settings_of([_read(path, source)], context, source)
    variable = os.environ.get("KUBECONFIG")
    named = [name for name in (variable or _DEFAULT_FILE).split(os.pathsep) if name]
    paths = [Path(name).expanduser() for name in dict.fromkeys(named)]
    found = [path for path in paths if path.exists()]
    source = f"the kubeconfig {os.pathsep.join(str(path) for path in found or paths)}"
    if not found:
        raise KubeconfigError(source, "there is no such file", _NAME_ONE)
    return settings_of([_read(path, source) for path in found], context, source)


def _read(path: Path, source: str) -> KubeconfigText:
    folder = path.absolute().parent
    return KubeconfigText(str(path), _text(path, source), lambda relative: str(folder / relative))


def _text(path: Path, source: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise KubeconfigError(source, f"{path} is not text in UTF-8", "save it as UTF-8") from None
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror or type(error).__name__}"
        raise KubeconfigError(source, reason, "correct the path, or let this user read the file") from None
