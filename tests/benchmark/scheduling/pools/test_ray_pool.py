"""Runs on Ray, without Ray: what a pool does when nothing runs."""

from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.pools.ray_pool import RayPool
from fedprompt.benchmark.scheduling.progress import ProgressListener


def test_a_signal_while_ray_starts_again_waits_for_no_run(tmp_path):
    pool = RayPool(SweepOptions(), 1, [], ProgressListener(), CheckpointFiles(Store(tmp_path)))
    assert pool.drain(60) == []
