"""Run by musubi-tuner's own Python, its src on PYTHONPATH: its buckets for the sizes on stdin."""

import json
import sys

from musubi_tuner.dataset.bucket import BucketSelector

answers = []
for resolution, no_upscale, sizes in json.load(sys.stdin):
    selector = BucketSelector(tuple(resolution), True, no_upscale, sys.argv[1])
    answers.append([list(map(int, selector.get_bucket_resolution(tuple(size)))) for size in sizes])
print(json.dumps(answers))
