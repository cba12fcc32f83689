"""Asks the real sd-scripts, inside its own Python, what it makes of folder names and image sizes. Run by test_against_kohya.py.

stdin: {"checkout": path, "names": [...], "rules": [[w, h, enable, min, max, step, no_upscale, [[width, height], ...]], ...]}
stdout, last line: {"names": [[repeats, tokens] or null, ...], "placements": [[[bw, bh, sw, sh, error] or null, ...] or null, ...]}
"""

import json
import sys
import tempfile
from pathlib import Path


def read_names(config_util, names):
    answers = []
    for name in names:
        with tempfile.TemporaryDirectory() as root:
            Path(root, name).mkdir()
            found = config_util.generate_dreambooth_subsets_config_by_subdirs(root)
        answers.append([found[0]["num_repeats"], found[0]["class_tokens"]] if found else None)
    return answers


def place(train_util, rule):
    width, height, enable, low, high, step, no_upscale, sizes = rule
    try:
        if enable:
            adjust = train_util.BaseDataset.adjust_min_max_bucket_reso_by_steps
            low, high = adjust(None, (width, height), low, high, step)
            manager = train_util.BucketManager(no_upscale, (width, height), low, high, step)
            if not no_upscale:
                manager.make_buckets()
        else:
            manager = train_util.BucketManager(False, (width, height), None, None, None)
            manager.set_predefined_resos([(width, height)])
    except (AssertionError, ZeroDivisionError):
        return None
    answers = []
    for size in sizes:
        try:
            bucket, scaled, error = manager.select_bucket(*size)
            answers.append([*map(int, bucket), *map(int, scaled), float(error)])
        except ZeroDivisionError:
            answers.append(None)
    return answers


def main():
    question = json.load(sys.stdin)
    sys.path.insert(0, question["checkout"])
    from library import config_util, train_util

    answer = {
        "names": read_names(config_util, question["names"]),
        "placements": [place(train_util, rule) for rule in question["rules"]],
    }
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


main()
