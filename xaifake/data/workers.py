"""One task per video, on the cores of this machine or on a Dask cluster (02_face_extraction).

joblib has both, but not what is promised here. With its 1.6.0 the processes outlive an original
that is killed, an interrupt may print a second traceback, and on Dask a run waits for ever for a
task that kills its workers, where here it is told and the others go on.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack

from joblib import cpu_count

from xaifake.errors import UserError

_pool = {}  # of a process of the pool: the event that tells it to stop


def run_tasks(task, jobs, settings, workers=None, scheduler=None, say=print):
    """Run a task for every job in processes, and yield ``(video, result)`` as the tasks end.

    The task is a module-level function of a job and the settings; it may run twice for one job, on
    two machines even, and must do no harm then. A job is a dict with a ``"video"``, by which its
    result is told, and for a scheduler with its ``"path"``.

    Without a ``scheduler`` there are ``workers`` processes on this machine, one per core if not
    given. With one, the address of a Dask scheduler such as ``tcp://10.0.0.1:8786``, its workers do
    the tasks; ``"local"`` starts a cluster of ``workers`` processes for the time of the run.
    ``say`` takes lines for the user.

    Raises
    ------
    UserError
        If a process of this machine dies, the scheduler is not there or lost, or a worker of the
        cluster cannot do the task.
    """
    if not jobs:
        return
    if scheduler is None:
        yield from _run_in_pool(task, jobs, settings, workers or cpu_count())
    else:
        yield from _run_on_dask(task, jobs, settings, workers, scheduler, say)


def stopping():
    """Whether the run that this process works for was stopped, so that nobody waits for it."""
    return "stop" in _pool and _pool["stop"].is_set()


def _run_in_pool(task, jobs, settings, workers):
    # Not forked: libraries of the caller (TensorFlow) do not survive a fork.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _start_process, (stop,))
    try:
        futures = {pool.submit(task, job, settings): job["video"] for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise UserError(
            "A worker process ended unexpectedly, most often for want of memory: call again with "
            "fewer workers, what is done is kept. A script must make this call below "
            "'if __name__ == \"__main__\":'."
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _start_process(stop):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the original's, which sets `stop`
    threading.Thread(target=_end_with_original, daemon=True).start()
    _pool["stop"] = stop


def _end_with_original():
    multiprocessing.parent_process().join()
    os._exit(1)


def _run_on_dask(task, jobs, settings, workers, scheduler, say):
    distributed = _distributed()
    with ExitStack() as stack:
        client = _connect(distributed, stack, scheduler, workers)
        say(f"Dask's dashboard: {client.dashboard_link}")
        if not client.scheduler_info(n_workers=-1)["workers"]:
            say("The cluster has no worker yet; the run goes on when one joins.")
        client.wait_for_workers(1)
        _check_workers(client, jobs[0]["path"])
        # The results are words; a task whose worker dies starts again on another one.
        futures = {client.submit(task, job, settings, pure=False): job["video"] for job in jobs}
        stack.callback(client.cancel, list(futures))
        for future in distributed.as_completed(futures, loop=client.loop):
            yield futures[future], _outcome(future, distributed)


def _distributed():
    try:
        import distributed
    except ImportError:
        raise UserError("A Dask cluster needs distributed: pip install distributed bokeh") from None
    return distributed


def _connect(distributed, stack, scheduler, workers):
    if scheduler == "local":
        scheduler = stack.enter_context(
            distributed.LocalCluster(
                n_workers=workers or cpu_count(),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # any free port, for this machine alone
            )
        )
    elif workers is not None:
        raise UserError(
            f"workers={workers} is for processes of this machine; the cluster at {scheduler} has "
            "workers of its own: dask worker ADDRESS --nworkers N --nthreads 1."
        )
    try:
        client = distributed.Client(scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"No Dask scheduler answers at {scheduler} ({error}): start one with 'dask scheduler' "
            "and give the address that it prints, such as tcp://10.0.0.1:8786, or 'local'."
        ) from None
    return stack.enter_context(client)


def _check_workers(client, video):
    """See that all workers have the package and see the first video."""
    try:
        seen = client.run(os.path.isfile, video)
        client.run(_has_package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"A worker of the cluster lacks {error.name}: install xaifake with its 'local' and "
            "'cluster' packages where the workers run."
        ) from None
    here = os.path.isfile(video)
    blind = [worker for worker, there in seen.items() if here and not there]
    if blind:
        raise UserError(
            f"The worker {blind[0]} does not see {video}: put the videos into a folder that all "
            "machines of the cluster have under the same path."
        )


def _has_package():
    return __name__


def _outcome(future, distributed):
    try:
        return future.result()
    except distributed.KilledWorker as error:
        return f"its worker died {error.allowed_failures + 1} times"
    except distributed.client.FutureCancelledError:
        raise UserError(
            "The Dask scheduler was lost: start it again and call again, what is done is kept."
        ) from None
