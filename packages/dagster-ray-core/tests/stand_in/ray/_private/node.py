"""A node whose start Ray gives up. As in Ray, only the frames of the error refer to it."""

killed: list[str] = []


class Node:
    def __init__(self, name: str) -> None:
        self.all_processes = {"raylet": name}
        raise Exception(  # noqa: TRY002 - what Ray raises
            "The current node timed out during startup. This could happen because some of the raylet failed to startup."
        )

    def kill_all_processes(self, *, check_alive: bool, allow_graceful: bool, wait: bool) -> None:
        killed.append(self.all_processes["raylet"])
