"""A real data worker of torch's; its pid is written down before the first batch."""

import time
from pathlib import Path

from saying import arguments, bar, opening
from torch.utils.data import DataLoader, Dataset

output, name, steps, pause = arguments()


class Slow(Dataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        time.sleep(0.2)
        return index


opening(steps)
batches = iter(DataLoader(Slow(), num_workers=1))
output.mkdir(parents=True, exist_ok=True)
(Path(output) / "worker.pid").write_text(str(batches._workers[0].pid))
for step, _ in enumerate(batches, 1):
    bar(step, steps, "0.5")
