"""Run by musubi-tuner's own Python, its src on PYTHONPATH: its buckets for the sizes in a file."""

import json
import sys
from pathlib import Path

from musubi_tuner.dataset.bucket import BucketSelector

answers = []
for resolution, no_upscale, sizes in json.loads(Path(sys.argv[2]).read_text()):
    selector = BucketSelector(tuple(resolution), True, no_upscale, sys.argv[1])
    answers.append([list(map(int, selector.get_bucket_resolution(tuple(size)))) for size in sizes])
print(json.dumps(answers))
