"""Kernels that start with their imports done: forks of a process that has imported what notebooks do.

That process is multiprocessing's fork server, which imports and then only forks: it uses no thread, no socket
of ZeroMQ and no GPU. The kernel is ipykernel's ordinary one; another interpreter starts its own.
"""

import atexit
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import TYPE_CHECKING, Any

from lthpaper.parent import end_with_parent

if TYPE_CHECKING:
    from jupyter_client.connect import KernelConnectionInfo

LAUNCHER = "ipykernel_launcher"
INLINE = "module://matplotlib_inline.backend_inline"
IMPORTED = [
    "__main__",
    "ipykernel.kernelapp",
    "lthpaper.studies",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "seaborn",
    "torch._dynamo",  # which torch imports where a network without memory has a batch-norm
]


class Kernel(ForkServerProcess):
    """A kernel's process, with those names of subprocess.Popen that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: str | None):
        super().__init__(daemon=True)  # ended with this process
        self.arguments, self.env, self.cwd = arguments, env, cwd
        self.errors = Connection(os.dup(2), readable=False)  # the server's own is that of the first notebook

    def run(self) -> None:
        """Be what `python -m ipykernel_launcher` is with these arguments, in this environment."""
        import matplotlib
        from ipykernel.kernelapp import IPKernelApp

        os.setsid()
        self.daemon = False  # it may have processes of its own
        end_with_parent()
        os.dup2(self.errors.fileno(), 2)
        self.errors.close()
        if self.cwd is not None:
            os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.env)
        sys.argv[:] = [LAUNCHER, *self.arguments]
        matplotlib.rcParams["backend"] = INLINE  # as ipykernel has it of matplotlibs that it imports later
        IPKernelApp.launch_instance([*self.arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])
        atexit._run_exitfuncs()  # as at the end of a program; multiprocessing does without

    @property
    def returncode(self) -> int | None:
        """Its status, −9 for signal 9; None while it runs."""
        return self.exitcode

    def poll(self) -> int | None:
        """Its status, None while it runs."""
        return self.exitcode

    def wait(self) -> int | None:
        """Its status, once it has ended."""
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.pid is not None
        os.kill(self.pid, number)


def provisioner(**how: Any) -> Any:
    """jupyter_client's own provisioner of a kernel, which begins it by a fork. how: its arguments."""
    from jupyter_client.provisioning import LocalProvisioner  # a machine that only trains may lack it

    class Forking(LocalProvisioner):
        process: Any = None

        async def launch_kernel(self, cmd: list[str], **how: Any) -> "KernelConnectionInfo":
            if cmd[0] != sys.executable or LAUNCHER not in cmd:
                return await super().launch_kernel(cmd, **how)
            multiprocessing.set_forkserver_preload(IMPORTED)
            self.process = Kernel(cmd[cmd.index(LAUNCHER) + 1 :], how["env"], how.get("cwd"))
            self.process.start()
            self.process.errors.close()
            self.pid = self.pgid = self.process.pid
            self.cwd = how.get("cwd")
            return self.connection_info

    return Forking(**how)
