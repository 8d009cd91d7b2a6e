"""One function run on many tasks: here, or in processes with one intra-op thread each.

Tasks are plain values and arrays; results come back in order. Nothing is written.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from forecaster.errors import UsageError
from forecaster.evaluation.splits import Backend

Result = TypeVar("Result")

# An actor that dies is restarted and its task repeated: by default Ray gives up on both.
RESTARTS = {"max_restarts": 3, "max_task_retries": 3}


def fan_out(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    backend: Backend = "loky",
) -> list[Result]:
    """Call `function(*task)` for every task.

    Args:
        function: of a module, so that another process can import it.
        tasks: arguments; arrays above a megabyte are shared as memory maps, not copied.
        jobs: processes; 1 stays in this one, unless they are Ray's.
        backend: processes here, or actors of the Ray cluster at RAY_ADDRESS, or of one
            started here.

    Raises:
        UsageError: Ray is not installed.
    """
    if backend == "loky" and (jobs == 1 or len(tasks) < 2):
        return [function(*task) for task in tasks]
    from joblib import Parallel, delayed

    with _processes(jobs, backend):
        # Copy on write: torch warns of arrays that it must not write to.
        found: list[Result] = Parallel(mmap_mode="c")(delayed(function)(*task) for task in tasks)
    return found


def _processes(jobs: int, backend: Backend) -> AbstractContextManager[Any]:
    from joblib import parallel_config

    if backend == "ray":
        _register_ray()
        options: dict[str, Any] = {"ray_remote_args": RESTARTS}
    else:
        # Two threads in each of two processes on two cores would wait for each other every day.
        options = {"inner_max_num_threads": 1}
    chosen: AbstractContextManager[Any] = parallel_config(backend=backend, n_jobs=jobs, **options)
    return chosen


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise UsageError(
            "--backend ray needs Ray, which is not installed; run: pip install 'forecaster[ray]'"
        ) from error
    register_ray()
