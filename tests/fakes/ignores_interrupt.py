"""Does not hear Ctrl-C; ends at SIGTERM."""

import signal

from saying import arguments, bar, opening, work

signal.signal(signal.SIGINT, signal.SIG_IGN)
output, name, steps, pause = arguments()
opening(steps)
for step in range(1, steps + 1):
    work(pause)
    bar(step, steps, "0.5")
