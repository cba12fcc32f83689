"""Runs inside musubi-tuner's own Python, its src on PYTHONPATH: does each script's own main take these files, up to the training? Then its dataset schema.

PYTHON musubi_parse_probe.py CASES.json     (prints one JSON object: name -> "" or what the script said)
"""

import contextlib
import importlib
import json
import sys
from pathlib import Path

import torch

torch.cuda.current_device = lambda: "cpu"  # wan/modules/t5.py asks for it as it is imported

from musubi_tuner.dataset import config_utils  # noqa: E402
from musubi_tuner.training import trainer_base  # noqa: E402

seen = []
trainer_base.NetworkTrainer.train = lambda self, args: seen.append((self, args))


def said_to(script, config):
    module = importlib.import_module(f"musubi_tuner.{script}")
    sys.argv = [script, "--config_file", config]
    module.main()
    trainer, args = seen.pop()
    trainer.handle_model_specific_args(args)
    user = config_utils.load_user_config(args.dataset_config)
    generator = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer())
    blueprint = generator.generate(user, args, architecture=trainer.architecture)
    return "" if blueprint.dataset_group.datasets else "no datasets"


answers = {}
with contextlib.redirect_stdout(sys.stderr):
    for name, (script, config) in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).items():
        try:
            answers[name] = said_to(script, config)
        except BaseException as error:  # noqa: BLE001  (whatever it says is the answer)
            answers[name] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
