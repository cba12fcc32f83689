"""Fails as torch does when the card is full."""

import sys

from saying import arguments, bar, opening

output, name, steps, pause = arguments()
opening(steps)
bar(1, steps, "0.5")
sys.stderr.write("""
Traceback (most recent call last):
  File "train_network.py", line 1783, in <module>
    trainer.train(args)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free.
""")
sys.exit(1)
