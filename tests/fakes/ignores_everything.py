"""Hears neither Ctrl-C nor SIGTERM, and has a child that hears nothing either."""

import os
import signal

from saying import arguments, bar, opening, work

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
output, name, steps, pause = arguments()
if os.fork() == 0:
    work(60)
    os._exit(0)
opening(steps)
for step in range(1, steps + 1):
    work(pause)
    bar(step, steps, "0.5")
