"""Why `ray.init` failed, and what to do about it. Pure."""

NODE_TIMED_OUT = "The current node timed out during startup"
"""How Ray words that a node it started was not up after 30 s (ray/_private/node.py)."""

# Words of Ray, Python and the operating system (Ray 2.46 to 2.60), and what helps in each case.
_CAUSES = (
    (
        (NODE_TIMED_OUT,),
        "Ray's processes were not up within Ray's own 30 s in any attempt: this machine is too busy or too small. "
        "End other work, give Ray fewer CPUs by `num_cpus`, or raise `timeout` to allow more attempts",
    ),
    (
        ("AF_UNIX path", "path length cannot exceed", "File name too long"),
        "the folder for Ray's sessions has too long a path for a Unix socket; set RAY_TMPDIR to a short one, "
        "for example /tmp",
    ),
    (
        ("Read-only file system", "Permission denied", "PermissionError"),
        "Ray cannot write a file that it needs, which is named above. It writes its sessions below RAY_TMPDIR "
        "(unset: the temporary folder) and, unless RAY_AUTH_MODE=disabled, a token below the home folder",
    ),
    (
        ("No space left on device", "/dev/shm"),  # noqa: S108 - words of a message
        "Ray keeps its object store in shared memory. Give the container a /dev/shm of some GiB, or set a smaller "
        "`object_store_memory`",
    ),
    (
        ("AuthenticationError", "Unauthenticated", "UNAUTHENTICATED", "authentication token"),
        "the cluster wants a token that this process does not have: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
        "RAY_AUTH_TOKEN_PATH to the cluster's token",
    ),
    (
        ("ersion mismatch", "different Python version", "different Ray version"),
        "install the Ray and Python versions of the cluster where the step runs, or give the cluster an image with "
        "the step's",
    ),
)


def is_of_network(reason: str) -> bool:
    """Return whether `ray.init` failed because it did not reach a cluster, or the machine was too busy to start one.

    Args:
        reason: Ray's own words, after the error's type.
    """
    if NODE_TIMED_OUT in reason:
        return True
    named = any(word in reason for words, _ in _CAUSES for word in words)
    kind = reason.partition(":")[0]
    return not named and kind.endswith(("ConnectionError", "ConnectionRefusedError", "TimeoutError"))


def advice(reason: str, address: str) -> str:
    """Return what to do about a failed `ray.init`, without a final period.

    Args:
        reason: Ray's own words.
        address: What `ray.init` was given; "local" starts Ray on this machine.
    """
    for words, remedy in _CAUSES:
        if any(word in reason for word in words):
            return remedy
    if address == "local":
        return "read Ray's own message above; its logs are below the temporary folder, in session_latest/logs"
    return f"read Ray's own message above, and check from where the step runs that {address} can be reached"
