"""Runs into a limit while saving: a file that may not grow, as on a full disk."""

import resource
import signal

from saying import arguments, bar, lora, opening

output, name, steps, pause = arguments()
opening(steps)
bar(steps, steps, "0.5")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
try:
    lora(output / f"{name}.safetensors", steps)
except OSError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    message = f"SafetensorError: Error while serializing: I/O error: No space left on device ({error.strerror})"
    raise SystemExit(message) from None
