"""Extraction on a Dask cluster gives the same bytes, and loses nothing with a worker."""

import contextlib
import os
import signal
import threading
import time

import dask
import distributed
import pandas as pd
import pytest
from test_extraction import contents
from upath import UPath

from xaifake.data import extract_faces, load_faces
from xaifake.data.dataset import read_manifest
from xaifake.data.workers import run_tasks
from xaifake.errors import UserError


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, which are started again when they are killed."""
    patience = dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with (
        patience,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def on_cluster(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.mark.slow
def test_a_cluster_ends_with_the_bytes_of_processes(
    cluster, tiny_faces, tiny_catalogue, tmp_path, capfd
):
    folder, settings = tiny_faces
    settings = {**settings, "progress": True}
    extract_faces(tiny_catalogue, tmp_path, scheduler=cluster.scheduler_address, **settings)
    assert contents(tmp_path) == contents(folder)
    assert f"Dask's dashboard: {cluster.dashboard_link}" in capfd.readouterr().out


def sleep_once_and_die(job, settings):
    """Kill the process that does the job "victim" first; the others take some time."""
    if job["video"] == "victim" and not os.path.exists(settings["mark"]):
        with open(settings["mark"], "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(settings["seconds"])
    return f"{job['video']} by {os.getpid()}"


def jobs_of(names):
    return [{"video": name, "path": __file__} for name in names]


@pytest.mark.slow
def test_a_task_whose_worker_dies_is_done_by_another(cluster, tmp_path):
    names = ["victim", *"abcdefg"]
    settings = {"mark": str(tmp_path / "mark"), "seconds": 0.05}
    results = run_tasks(
        sleep_once_and_die, jobs_of(names), settings, scheduler=cluster.scheduler_address, say=str
    )
    done = dict(results)
    assert (tmp_path / "mark").exists()
    assert sorted(done) == sorted(names)
    assert all(result.startswith(f"{name} by ") for name, result in done.items())


@pytest.mark.slow
def test_workers_killed_in_the_middle_of_an_extraction_lose_nothing(
    cluster, on_cluster, tiny_faces, tiny_catalogue, tmp_path
):
    folder, settings = tiny_faces
    out, killed = tmp_path / "out", []

    def kill_a_worker():
        while not list(out.glob("shards/*.parquet")):
            time.sleep(0.005)
        pids = on_cluster.run(os.getpid)
        killed.append(next(iter(pids.values())))
        with contextlib.suppress(ProcessLookupError):
            os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    extract_faces(tiny_catalogue, out, scheduler=cluster.scheduler_address, **settings)
    killer.join()
    assert killed
    assert contents(out) == contents(folder)


def kill_always(job, settings):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_video_that_kills_its_workers_is_told_and_the_others_go_on(cluster):
    jobs = jobs_of(["bad"])
    results = dict(run_tasks(kill_always, jobs, {}, scheduler=cluster.scheduler_address, say=str))
    assert results == {"bad": "its worker died 2 times"}


def wait_for_the_mark(job, settings):
    """The first job is done at once, the others when the mark is there."""
    while job["video"] != "0" and not os.path.exists(settings["mark"]):
        time.sleep(0.02)
    time.sleep(0.05)
    return os.getpid()


@pytest.mark.slow
def test_workers_that_join_take_their_share(tmp_path):
    mark, said = tmp_path / "mark", []
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as growing:

        def say(line):
            said.append(line)
            if "no worker yet" in line:
                growing.scale(1)

        address = growing.scheduler_address
        jobs = jobs_of(map(str, range(30)))
        results = run_tasks(wait_for_the_mark, jobs, {"mark": str(mark)}, None, address, say)
        done = [next(results)[1]]
        growing.scale(2)
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2)
        mark.touch()
        done += [result for _, result in results]
    assert "no worker yet" in said[-1]
    assert len(done) == 30 and len(set(done)) == 2


@pytest.mark.slow
def test_a_local_cluster_is_made_on_request(tiny_faces, tiny_catalogue, tmp_path):
    folder, settings = tiny_faces
    extract_faces(tiny_catalogue, tmp_path, workers=1, scheduler="local", **settings)
    assert contents(tmp_path) == contents(folder)


@pytest.mark.slow
def test_a_cluster_that_cannot_help_is_told(cluster, tmp_path):
    with pytest.raises(UserError, match="No Dask scheduler answers at nowhere.*'dask scheduler'"):
        list(run_tasks(str, jobs_of("a"), {}, scheduler="nowhere"))
    address = cluster.scheduler_address
    with pytest.raises(UserError, match="workers=3 is for processes of this machine"):
        list(run_tasks(str, jobs_of("a"), {}, workers=3, scheduler=address))


# Folders that are no folders


@pytest.mark.slow
def test_faces_go_to_a_store_and_come_back(tiny_faces, tiny_catalogue):
    folder, settings = tiny_faces
    address = "memory://bucket/faces"
    # The store is this process' memory, so a cluster of threads writes to it.
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as threads:
        for _ in range(2):  # the second time all is there
            extract_faces(tiny_catalogue, address, scheduler=threads.scheduler_address, **settings)
    stored = UPath(address)
    there = {str(p.relative_to(stored)): p.read_bytes() for p in stored.rglob("*") if p.is_file()}
    assert there == contents(folder)
    pd.testing.assert_frame_equal(read_manifest(address), read_manifest(folder))
    faces = load_faces(address, "train")
    assert (faces.images == load_faces(folder, "train").images).all()
    with pytest.raises(UserError, match="originals was True, is False"):
        extract_faces(tiny_catalogue, address, **{**settings, "originals": False})
