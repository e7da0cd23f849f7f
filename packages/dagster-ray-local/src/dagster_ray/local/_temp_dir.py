"""The folder that a Ray on this machine keeps its sessions in: one for each cluster.

Ray's job server finds the cluster that a job's driver belongs to by the file `ray_current_cluster` in the temporary
folder of its node; without that file it takes any cluster of the machine (ray/dashboard/modules/job/job_supervisor.py,
ray/_private/services.py). `ray start` writes the file and `ray.init` does not. So with Ray's default folder, a job that
is submitted to one of two clusters may run on the other one.
"""

from collections.abc import Mapping
from pathlib import Path

# A socket's path has 107 bytes at most; Ray puts `session_<date and time>_<pid>/sockets/plasma_store` under the folder.
_LONGEST = 107 - len("/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHORT = "/tmp"  # noqa: S108 - where Ray's own sessions are
_CURRENT_CLUSTER = "ray_current_cluster"


def cluster_temp_dir(cluster: str, user_id: int, environ: Mapping[str, str], platform: str) -> str:
    """Return the folder for a cluster, beside Ray's default one, or below /tmp if that is too long for Ray's sockets.

    Args:
        cluster: What no other cluster of this user is called meanwhile.
        user_id: The user's number.
        environ: RAY_TMPDIR, and on Linux TMPDIR, move it as they move Ray's own (ray/_common/utils.py).
        platform: `sys.platform`.
    """
    moved = environ.get("RAY_TMPDIR") or (environ.get("TMPDIR") if platform.startswith("linux") else None)
    found = str(Path(moved or _SHORT, f"ray-{user_id}", cluster))
    return found if len(found.encode()) <= _LONGEST else str(Path(_SHORT, f"ray-{user_id}", cluster))


def name_current_cluster(temp_dir: str, address: str) -> None:
    """Let Ray's job server find the cluster whose folder this is, as `ray start` does."""
    Path(temp_dir, _CURRENT_CLUSTER).write_text(address, encoding="utf-8")
