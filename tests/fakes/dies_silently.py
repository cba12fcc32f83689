"""Killed silently in the middle of a step, as the kernel does when memory is full."""

import os
import signal

from saying import arguments, bar, opening

output, name, steps, pause = arguments()
opening(steps)
bar(2, steps, "0.5")
os.kill(os.getpid(), signal.SIGKILL)
