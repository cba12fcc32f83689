"""Like accelerate: starts the trainer named by the first argument and waits; dies alone when told to. Writes the trainer's pid beside."""

import os
import signal
import subprocess
import sys
from pathlib import Path

script, *rest = sys.argv[1:]
child = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name(script)), *rest],
    start_new_session="--own-session" in sys.argv,
)
Path(rest[0]).mkdir(parents=True, exist_ok=True)
(Path(rest[0]) / "trainer.pid").write_text(str(child.pid))
if os.environ.get("DIE"):
    os.kill(os.getpid(), signal.SIGKILL)
code = child.wait()
if code:
    raise subprocess.CalledProcessError(code, child.args)
