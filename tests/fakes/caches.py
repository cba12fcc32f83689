"""Caches as a trainer's first commands do: a bar of its own, a file for each image, "Done!" whatever happened. FOLDER NAME COUNT [SECONDS [EXIT_CODE]]"""

import sys
from pathlib import Path

from saying import say, work

folder, name, count, *more = sys.argv[1:]
pause, code = float(more[0]) if more else 0.0, int(more[1]) if len(more) > 1 else 0
Path(folder).mkdir(parents=True, exist_ok=True)
for number in range(1, int(count) + 1):
    say(f"\r{number}it [00:0{number % 10}, 2.45s/it]", end="")
    work(pause)
    (Path(folder) / f"{number}.{name}").write_text("cached", encoding="utf-8")
say("\nDone!")
sys.exit(code)
