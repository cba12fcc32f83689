"""The lock of a device, with a real child that inherits it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from lorakit.run.train import device_is_free, holder

HOLDS = """
import os, subprocess, sys
from pathlib import Path
from lorakit.run.train import hold_device
with hold_device(Path("runs/fox/x"), print) as handles:
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    print(subprocess.Popen(sleeps, pass_fds=handles, stdout=subprocess.DEVNULL).pid, flush=True)
    sys.stdin.read()
"""


def test_the_device_is_taken_while_the_training_lives_even_when_lorakit_is_killed() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=pipe, stdout=pipe) as lorakit:
        assert lorakit.stdout is not None
        training = int(lorakit.stdout.readline())
        assert not device_is_free() and holder() == "runs/fox/x"
        lorakit.kill()
        lorakit.wait()
        assert not device_is_free()
        os.kill(training, signal.SIGKILL)
    while not device_is_free():  # the kernel lets go as the process ends
        pass
