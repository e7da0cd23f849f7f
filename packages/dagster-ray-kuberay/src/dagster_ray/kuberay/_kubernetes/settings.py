"""How an API server is reached, and as whom: what a kubeconfig or a pod's service account amounts to. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials (client.authentication.k8s.io)."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    wants_cluster: bool = False
    """Whether it is told the cluster (`provideClusterInfo`)."""
    cluster_config: str = "null"
    """JSON that the cluster's extension holds for it."""


@dataclass(frozen=True, slots=True)
class User:
    """Credentials, as the kubeconfig has them. Texts win over files except for tokens, where the file wins."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    """A client certificate in PEM."""
    certificate_file: str = ""
    key: str = field(default="", repr=False)
    key_file: str = ""
    exec_plugin: ExecPlugin | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers that name the account to act as."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One API server and one account."""

    source: str
    """Where it was found, for errors: "the kubeconfig PATH"."""
    server: str
    namespace: str = "default"
    context: str = ""
    user_name: str = ""
    user: User = field(default_factory=User)
    ca: str = field(default="", repr=False)
    """Certificates of authorities in PEM; none and no file: those of the system."""
    ca_file: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = field(default="", repr=False)
