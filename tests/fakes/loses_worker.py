"""A data worker of its own is killed; the trainer notices as torch does and fails."""

import os
import signal
import sys
from pathlib import Path

from saying import arguments, bar, opening, work

output, name, steps, pause = arguments()
opening(steps)
worker = os.fork()
if worker == 0:
    work(60)
    os._exit(0)
output.mkdir(parents=True, exist_ok=True)
(Path(output) / "worker.pid").write_text(str(worker))
bar(1, steps, "0.5")
_, status = os.waitpid(worker, 0)
sys.stderr.write(
    f"\nRuntimeError: DataLoader worker (pid {worker}) is killed by signal: {signal.Signals(os.WTERMSIG(status)).name}. \n"
)
sys.exit(1)
