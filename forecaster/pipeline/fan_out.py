"""Run the same function on many tasks: here, or in processes with one intra-op thread each.

Tasks are plain values and arrays; results come back in order. Nothing is written.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")


def fan_out(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> list[Result]:
    """Call `function(*task)` for every task.

    Args:
        function: of a module, so that another process can import it.
        tasks: arguments; arrays above a megabyte are shared as memory maps, not copied.
        jobs: processes; 1 stays in this one.
    """
    if jobs == 1 or len(tasks) < 2:
        return [function(*task) for task in tasks]
    from joblib import Parallel, delayed, parallel_config

    # Two threads in each of two processes on two cores wait for each other after every day.
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        # Copy on write: torch warns of arrays that it must not write to.
        found: list[Result] = Parallel(mmap_mode="c")(delayed(function)(*task) for task in tasks)
    return found
