"""The work queue, in virtual time."""

import asyncio

import pytest

from deepseek_operator.controller.queue import LAST_DELAY, ClosedError, WorkQueue

pytestmark = [pytest.mark.looptime]


async def test_a_key_is_queued_at_most_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert queue.depth() == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_a_key_has_at_most_one_worker() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 60)
    queue.done("a")
    assert await queue.get() == "a"


async def test_failures_back_off_up_to_a_limit_and_success_resets_them() -> None:
    queue: WorkQueue[str] = WorkQueue()
    delays = []
    queue.add("a")
    for _ in range(20):
        key = await queue.get()
        delays.append(queue.retry(key))
    assert delays[0] < 0.3
    assert delays[1] > delays[0]
    assert LAST_DELAY <= delays[-1] <= LAST_DELAY * 1.2
    queue.done(await queue.get())
    queue.add("a")
    assert queue.retry(await queue.get()) < 0.3


async def test_a_retry_waits_at_least_as_long_as_requested() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    loop = asyncio.get_running_loop()
    started = loop.time()
    queue.retry(await queue.get(), at_least=7)
    await queue.get()
    assert loop.time() - started >= 7


async def test_a_change_does_not_wait_for_the_backoff() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.retry(await queue.get(), at_least=1000)
    queue.add("a")
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await queue.get() == "a"
    queue.done("a")
    assert loop.time() - started < 1
    with pytest.raises(TimeoutError):  # the timer is cancelled too
        await asyncio.wait_for(queue.get(), 5000)


async def test_a_success_may_requeue_its_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.done(await queue.get(), requeue_after=30)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await queue.get() == "a"
    assert loop.time() - started == pytest.approx(30)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 5000)


async def test_age_is_that_of_the_oldest_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.age() == 0
    queue.add("a")
    await asyncio.sleep(3)
    queue.add("b")
    assert queue.age() == pytest.approx(3, abs=0.1)


async def test_changed_keys_come_before_revisited_ones() -> None:
    queue: WorkQueue[int] = WorkQueue()
    for number in range(100):
        queue.add_later(number)
    queue.add(1000)
    queue.add(50)
    assert {await queue.get(), await queue.get()} == {1000, 50}
    assert queue.depth() == 99


async def test_revisited_keys_are_not_starved_by_changes() -> None:
    queue: WorkQueue[int] = WorkQueue()
    queue.add_later(-1)
    for number in range(20):
        queue.add(number)
    assert -1 in [await queue.get() for _ in range(10)]


async def test_a_closed_queue_hands_out_no_keys() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    queue.add("a")
    queue.close()
    with pytest.raises(ClosedError):
        await waiting


async def test_working_reports_the_longest_work_in_progress() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    await asyncio.sleep(40)
    assert queue.working() == pytest.approx(40)
    queue.done(key)
    assert queue.working() == 0
