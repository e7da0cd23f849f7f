"""A script that runs as a Ray job and reports to Dagster."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import ray
from dagster_pipes import open_dagster_pipes


@ray.remote
def square(number: int) -> int:
    """Return the square of a number."""
    return number * number


def main() -> None:
    """Add up squares, and report the sum."""
    with open_dagster_pipes() as context:
        count = context.get_extra("count")
        total = sum(ray.get([square.remote(number) for number in range(count)]))
        context.log.info("The sum is %d", total)
        context.report_asset_materialization(metadata={"total": total})


if __name__ == "__main__":
    main()
