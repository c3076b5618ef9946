import subprocess
import sys

from fedprompt.benchmark.frameworks.job import Job


def test_a_job_is_read_as_it_was_written(job_file, tmp_path):
    job = Job.read(job_file)
    job.write(tmp_path / "again.json")
    assert Job.read(tmp_path / "again.json") == job


def test_the_other_frameworks_do_not_import_our_simulator_to_read_a_job():
    code = (
        "import sys; from fedprompt.benchmark.frameworks import job, model\n"
        "print(*(name for name in sys.modules if name.startswith('fedprompt.benchmark.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.split(".")[2] for name in done.stdout.split()}
    assert packages == {"backbone", "errors", "frameworks"}
