"""Submit Ray jobs from Dagster with Pipes.

Holds no client yet. Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

__all__: list[str] = []

__version__ = version("dagster-ray-pipes")
DagsterLibraryRegistry.register("dagster-ray-pipes", __version__, is_dagster_package=False)
