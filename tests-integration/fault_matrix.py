"""What each feature does when each fault meets it in each phase: plain data, from which the documentation is made.

Every combination of feature, phase and fault is in exactly one cell, and each cell names the tests that show what it
says, or why there is nothing to show. `scripts/fault_table.py` writes `docs/what-happens-when.md` from it.
"""

from dataclasses import replace

from fault_cells_of_answers import ANSWER_CELLS
from fault_cells_of_clusters import CLUSTER_CELLS
from fault_cells_of_dagster import DAGSTER_CELLS
from fault_cells_of_drivers import DRIVER_CELLS
from fault_cells_of_locks import LOCK_CELLS
from fault_cells_of_runs import RUN_CELLS
from fault_cells_of_starts import START_CELLS
from fault_cells_of_steps import STEP_CELLS
from fault_terms import DRIVER, KUBE_PIPES, Cell

_OTHERS = (*STEP_CELLS, *ANSWER_CELLS, *CLUSTER_CELLS, *START_CELLS, *DAGSTER_CELLS, *LOCK_CELLS, *RUN_CELLS)


def _with_drivers(cell: Cell) -> Cell:
    """Return a cell that is also about `driver="cluster"`, in the phases that no cell of its own has.

    The code that asks Kubernetes and follows the job is the same as that of `PipesKubeRayJobClient`.
    """
    own = {phase for one in DRIVER_CELLS if one.fault == cell.fault for phase in one.where[DRIVER]}
    phases = tuple(phase for phase in cell.where.get(KUBE_PIPES, ()) if phase not in own)
    return replace(cell, where={**cell.where, DRIVER: phases}) if phases else cell


CELLS = (*map(_with_drivers, _OTHERS), *DRIVER_CELLS)
