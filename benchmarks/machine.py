"""What the benchmarks run on: the machine, without its name, and the versions."""

import importlib.metadata
import inspect
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from older_project import VERSION, older_python


def machine() -> dict[str, str]:
    """Return CPU, cores, memory, kernel, and how busy the machine is."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "CPU": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average at the start, 1 and 5 minutes": " and ".join(f"{load:.2f}" for load in os.getloadavg()[:2]),
    }


def versions() -> Mapping[str, str]:
    """Return what is measured."""
    from dagster_ray.simulator import Simulator  # noqa: PLC0415 - after the cheap facts

    kuberay = inspect.signature(Simulator).parameters["kuberay_version"].default
    named = {name: importlib.metadata.version(name) for name in ("dagster", "ray", "kubernetes")}
    return {
        "dagster-ray (this project)": importlib.metadata.version("dagster-ray"),
        "dagster-ray (the older one)": f"{VERSION}, with kubernetes {_older_version('kubernetes')}",
        "python": platform.python_version(),
        **named,
        "KubeRay, simulated": str(kuberay),
    }


def _older_version(distribution: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    done = subprocess.run([older_python(), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
