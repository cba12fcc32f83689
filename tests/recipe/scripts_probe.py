"""Runs inside sd-scripts' own Python: does a script take these files? Parsing, its own checks, its dataset schema, its assertions.

PYTHON scripts_probe.py CHECKOUT CASES.json     (prints one JSON object: name -> "" or what the script said)
"""

import contextlib
import importlib
import json
import sys
from pathlib import Path

checkout, cases = sys.argv[1:3]
sys.path.insert(0, checkout)

from library import config_util, strategy_base, train_util  # noqa: E402

CLASSES = {
    "train_network": "NetworkTrainer",
    "sdxl_train_network": "SdxlNetworkTrainer",
    "flux_train_network": "FluxNetworkTrainer",
    "sd3_train_network": "Sd3NetworkTrainer",
    "lumina_train_network": "LuminaNetworkTrainer",
    "hunyuan_image_train_network": "HunyuanImageNetworkTrainer",
    "anima_train_network": "AnimaNetworkTrainer",
}


def said_to(script: str, config: str) -> str:
    module = importlib.import_module(script)
    parser = module.setup_parser()
    sys.argv = [script, "--config_file", config]
    args = train_util.read_config_from_file(parser.parse_args(), parser)
    known = {action.dest for action in parser._actions}
    unknown = sorted(set(vars(args)) - known)
    if unknown:
        return f"unknown: {unknown}"
    train_util.verify_training_args(args)
    train_util.prepare_dataset_args(args, support_metadata=True)
    trainer = getattr(module, CLASSES[script])()
    strategy_base.LatentsCachingStrategy._strategy = None
    strategy_base.LatentsCachingStrategy.set_strategy(trainer.get_latents_caching_strategy(args))
    sanitizer = config_util.ConfigSanitizer(True, True, args.masked_loss, True)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(
        config_util.load_user_config(args.dataset_config), args
    )
    train, validation = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    trainer.assert_extra_args(args, train, validation)
    if args.cache_latents and not train.is_latent_cacheable():
        return "latents cannot be cached"
    return "" if train.num_train_images else "no images"


answers = {}
with contextlib.redirect_stdout(sys.stderr):
    for name, (script, config) in json.loads(Path(cases).read_text(encoding="utf-8")).items():
        try:
            answers[name] = said_to(script, config)
        except BaseException as error:  # noqa: BLE001  (whatever it says is the answer)
            answers[name] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
