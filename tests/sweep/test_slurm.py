"""The scripts for SLURM, with stand-ins for its commands: what was stopped is requeued, nothing else is."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "docs" / "cluster"
STOPS = """
trap 'trap "" USR1; touch stopping; until [ -e go ]; do sleep 0.05; done; exit 75' USR1
touch ready
while kill -0 $PPID; do sleep 0.05; done
"""
SCONTROL = '[ "$1" = show ] && echo localhost || echo "$@" >>requeued'
RAY_RUNS = 'while [ "$1" != -- ]; do shift; done; shift; "$@"'


def begun(folder: Path, script: str, job: dict[str, str], **commands: str) -> subprocess.Popen:
    """The script in a folder, as a job of SLURM, with these commands in place of the real ones."""
    there = folder / ".venv" / "bin"
    there.mkdir(parents=True)
    for name, text in ({"scontrol": SCONTROL, "srun": '"$@"'} | commands).items():
        (there / name).write_text(f"#!/bin/bash\n{text}\n")
        (there / name).chmod(0o755)
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("a token")
    about = {"HOME": str(folder), "SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1"} | job
    about |= {"SLURM_CPUS_PER_TASK": "1", "PATH": f"{there}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", str(SCRIPTS / script), "fig1"]
    return subprocess.Popen(words, cwd=folder, env=os.environ | about)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("job", "requeued"),
    [
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3"),
    ],
)
def test_one_node_is_requeued_however_many_signals_come_and_of_an_array_its_task_alone(
    tmp_path, job, requeued
):
    process = begun(tmp_path, "one-node.sbatch", job, lthpaper=STOPS)
    wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGUSR1)
    wait_for(tmp_path / "stopping")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)  # meanwhile the script would end
    (tmp_path / "go").touch()
    assert process.wait(300) == 75
    assert (tmp_path / "requeued").read_text() == f"requeue {requeued}\n"


def test_the_trap_is_set_before_the_command_starts():
    """Where a node is busy, the command can be ready before the script's next line."""
    script = (SCRIPTS / "one-node.sbatch").read_text()
    assert script.index("\ntrap ") < script.index(' run "$@" &')


@pytest.mark.parametrize(("ray", "status"), [(RAY_RUNS, 75), (f"{RAY_RUNS}; exit 0", 75), ("exit 0", 1)])
def test_a_ray_cluster_is_requeued_by_the_commands_status_and_fails_where_ray_did_not_start(
    tmp_path, ray, status
):
    process = begun(tmp_path, "ray.sbatch", {"SLURM_JOB_ID": "7"}, lthpaper="exit 75", ray=ray)
    assert process.wait(300) == status
    assert (tmp_path / "requeued").exists() == (status == 75)
    assert not list(tmp_path.glob("*.status"))
