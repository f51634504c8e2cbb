"""Start a program that cannot outlive the process that asked for it.

Run as a plain file: `python -I -S tether.py SIGNAL PARENT_PID UID PROGRAM ARGUMENTS...`. It asks the kernel to send
SIGNAL (a number) when the parent thread ends, becomes UID (`-` keeps the user), and turns into PROGRAM; the process id
stays the same. Linux only in its effect: elsewhere it just runs PROGRAM, and the next start finds what was left over
(`postgres.py`, `valkey.py`).

A program of its own instead of `preexec_fn`: Python 3.12 warns when a process with threads runs code between fork and
exec, and the supervisor has threads. It costs about 20 ms a start.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(death_signal: int, parent_pid: int, user_id: int | None, program: list[str]) -> None:
    """Replace this process with `program`; only returns by raising OSError when it cannot be run."""
    if user_id is not None:
        os.setgroups([])
        os.setgid(user_id)
        os.setuid(user_id)
    if sys.platform == "linux":
        # After the change of user, which clears the setting. It survives execve.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent_pid:  # the parent ended before the kernel knew about us
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - this is what the file is for


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), None if sys.argv[3] == "-" else int(sys.argv[3]), sys.argv[4:])
