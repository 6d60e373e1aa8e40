"""The latest request wins: work done beside the page, of which only what was asked for last is sure to be done."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from bokeh.document import Document

Job = TypeVar("Job")
Result = TypeVar("Result")

POOL: Final = ThreadPoolExecutor(4, thread_name_prefix="relfunc-viewer")


def latest(
    work: Callable[[Job], Result], then: Callable[[Job, Result], None], document: Document | None
) -> Callable[[Job], None]:
    """Make a function that has jobs done one at a time, and passes over those that a later one has replaced.

    Parameters
    ----------
    work : callable
        Does a job, in another thread; it must not touch the page.
    then : callable
        Is given the job and its result, in the page's own thread.
    document : bokeh.document.Document, optional
        The page. Without one, a job is done at once.

    Returns
    -------
    callable
        Takes a job and returns before it is done.
    """
    waiting: list[Job] = []
    running: list[Job] = []

    def begin() -> None:
        assert document is not None
        job = waiting.pop()
        running.append(job)
        POOL.submit(work, job).add_done_callback(partial(hand_over, document, _running_loop()))

    def hand_over(page: Document, loop: asyncio.AbstractEventLoop | None, done: Future[Result]) -> None:
        if loop is None:
            page.add_next_tick_callback(partial(finish, done))
        else:  # while Bokeh makes a page's session, in this loop, no other thread may add to the page's callbacks
            loop.call_soon_threadsafe(page.add_next_tick_callback, partial(finish, done))

    def finish(done: Future[Result]) -> None:
        job = running.pop()
        if waiting:
            begin()
        then(job, done.result())

    def ask(job: Job) -> None:
        if document is None:
            then(job, work(job))
            return
        waiting[:] = [job]
        if not running:
            begin()

    return ask


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
