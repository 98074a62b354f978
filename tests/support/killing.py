"""Kill a piece of work at each moment at which it touches the file system."""

import os
import signal
import sys


def killed_at(event, step):
    """Run `step` in a forked child that dies at its event-th touch of the file system; False once it lives to its end."""
    child = os.fork()
    if child == 0:
        left = event

        def count(name, arguments):
            nonlocal left
            if name == "open" or name.startswith(("os.", "shutil.")):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            step()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
