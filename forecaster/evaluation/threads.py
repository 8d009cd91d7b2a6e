"""Thread pools of BLAS and OpenMP, limited around everything that is not torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the pools that are loaded by now to one thread, torch's own excepted.

    Daily prices are too few for more: two threads mostly wait for each other, on a shared machine
    for a hundred times as long as they work. And sums would depend on the number of threads.
    """
    pools = ThreadpoolController()
    paths = [one["filepath"] for one in pools.info() if "torch" not in Path(one["filepath"]).parts]
    with pools.select(filepath=paths).limit(limits=1):
        yield
