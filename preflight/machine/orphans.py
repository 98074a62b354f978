"""A process that ends with the launcher that started it."""

import ctypes
import os
import signal
import sys
import threading
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LAUNCHERS = ("accelerate", "torch.distributed", "torchrun", "deepspeed")  # as a part of their command line


def end_with_parent(*names: str) -> bool:
    """Have the kernel send SIGTERM to this process when its parent ends, where a name is in the parent's command line; whether it will.

    `accelerate launch` ends at SIGTERM or SIGHUP without a word to the training that it started (accelerate 1.13.0, 2026-11), which goes
    on unseen. Linux only. A parent that is gone already is one as well: this process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        parent = psutil.Process().parent()
        if parent is None or not any(name in word for word in parent.cmdline() for name in names):
            return False
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (psutil.Error, AttributeError, OSError):
        return False
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)
    return True


def end_forks_too() -> None:
    """Have the kernel kill each process that this one forks when this one ends, however it ends. Linux only.

    A data loader's worker that has rows left to hand over waits for ever when its trainer is gone (torch 2.13, seen 2026-11-26): it then
    holds what it inherited, the pipe that ends the mirror among it. What a thread forks is left out: it would end with the thread.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    by_main_thread = False

    def before() -> None:
        nonlocal by_main_thread
        by_main_thread = threading.current_thread() is threading.main_thread()

    def in_child() -> None:
        if by_main_thread:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(before=before, after_in_child=in_child)


def let_finish(function: str) -> None:
    """Have SIGTERM end this process as ever, but not while a function of this name is at work: Axolotl's `terminate_handler` saves after
    Ctrl-C, which ends the launcher in the meantime."""

    def end(number: int, frame: FrameType | None) -> None:
        while frame:
            if frame.f_code.co_name == function:
                return
            frame = frame.f_back
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
