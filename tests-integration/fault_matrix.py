"""What each feature does when each fault meets it in each phase: plain data, from which the documentation is made.

Every combination of feature, phase and fault is in exactly one cell, and each cell names the tests that show what it
says, or why there is nothing to show. `scripts/fault_table.py` writes `docs/what-happens-when.md` from it.
"""

from fault_cells_of_answers import ANSWER_CELLS
from fault_cells_of_clusters import CLUSTER_CELLS
from fault_cells_of_dagster import DAGSTER_CELLS
from fault_cells_of_locks import LOCK_CELLS
from fault_cells_of_runs import RUN_CELLS
from fault_cells_of_starts import START_CELLS
from fault_cells_of_steps import STEP_CELLS

CELLS = (*STEP_CELLS, *ANSWER_CELLS, *CLUSTER_CELLS, *START_CELLS, *DAGSTER_CELLS, *LOCK_CELLS, *RUN_CELLS)
