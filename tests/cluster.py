"""A SLURM of two nodes on this machine, started and ended by the tests that want one: munged, slurmctld, slurmds."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
SBIN = "/usr/sbin:/sbin"  # where the daemons lie, which is not on everybody's PATH
NODES = ("n1", "n2")
START_S, END_S = 60.0, 10.0

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=60
KillWait=3
DefMemPerCPU=100
"""


def missing() -> str:
    """Why no cluster can be started here; empty where it can."""
    path = os.pathsep.join((os.environ.get("PATH", ""), SBIN))
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    return f"no SLURM on this machine ({', '.join(absent)}): apt-get install slurm-wlm munge" if absent else ""


@dataclass
class Cluster:
    """What runs in ``folder``; clients find it by :attr:`environment`."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join((os.environ["PATH"], SBIN))
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        """Start all daemons, and wait until both nodes are idle."""
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.folder.chmod(0o755)  # munge is for all users of a machine, and refuses a place that they cannot reach
        ports = _free_ports(1 + len(NODES))
        lines = [
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=localhost Port={port} CPUs=2 RealMemory=4000"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP")
        host = f"{socket.gethostname()}(localhost)"
        text = CONFIGURATION.format(folder=self.folder, user=getuser(), host=host, controller=ports[0])
        (self.folder / "slurm.conf").write_text(text + "\n".join(lines) + "\n")
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munged.seed",
        )  # fmt: skip
        self._until(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self.up(node)
        self._until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES), "slurmctld")

    def up(self, node: str) -> None:
        """Start a node's slurmd."""
        self._daemon("slurmd", "-D", "-N", node, key=node)

    def lose(self, node: str, *pids: int) -> None:
        """Let a node die, as for want of power: its slurmd and all processes of its jobs, which ``pids`` names."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=power")  # else after SlurmdTimeout

    def ask(self, *words: str) -> str:
        """What a client prints."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        """End all daemons, the last started first."""
        self.ask("scancel", "--state=RUNNING")
        self.ask("scancel", "--state=PENDING")
        for daemon in reversed(self.daemons.values()):
            _end(daemon)

    def _daemon(self, name: str, *words: str, key: str = "") -> None:
        binary = shutil.which(name, path=self.environment["PATH"])
        assert binary is not None
        with (self.folder / f"{key or name}.out").open("ab") as log:
            self.daemons[key or name] = subprocess.Popen(
                [binary, *words], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _until(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_S
        while not there():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.out"))
                raise RuntimeError(f"{what} does not start ({', '.join(dead) or 'time is up'}):\n{logs}")
            time.sleep(0.2)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that lives as long as the block. ``folder`` is short: a socket's path has 107 bytes at most."""
    running = Cluster(folder)
    with ExitStack() as after:
        after.callback(running.stop)
        running.start()
        yield running


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(END_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
