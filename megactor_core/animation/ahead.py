"""Making the next thing while this one is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")


def ahead(things: Iterator[Thing]) -> Iterator[Thing]:
    """The same things in the same order; a thread makes each next one while this one is in use.

    Worth it where making waits for one device and using for another: frames are decoded on the GPU while the
    CPU encodes those before them. One thing more is in memory. What the making raises is raised here.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:
        following = pool.submit(next, things, None)
        while (thing := following.result()) is not None:
            following = pool.submit(next, things, None)
            yield thing
