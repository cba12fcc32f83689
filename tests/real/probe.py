"""Runs inside sd-scripts' own Python: puts questions to its own functions and answers in JSON. One import for all questions.

PYTHON probe.py CHECKOUT, and on its input, line by line, files of questions: QUESTIONS.json is answered in QUESTIONS.answers.
"""

import importlib
import json
import os
import sys
import traceback

sys.path.insert(0, sys.argv[1])

from library import config_util, strategy_base, train_util

TRAINERS = {
    "train_network.py": "NetworkTrainer",
    "sdxl_train_network.py": "SdxlNetworkTrainer",
    "flux_train_network.py": "FluxNetworkTrainer",
    "sd3_train_network.py": "Sd3NetworkTrainer",
    "lumina_train_network.py": "LuminaNetworkTrainer",
    "hunyuan_image_train_network.py": "HunyuanImageNetworkTrainer",
    "anima_train_network.py": "AnimaNetworkTrainer",
}


def start(question):
    """What a script does with its configuration before it loads the model, assertions included."""
    module = importlib.import_module(question["script"][:-3])
    trainer = getattr(module, TRAINERS[question["script"]])()
    parser = module.setup_parser()
    sys.argv = [question["script"], "--config_file", question["train_toml"]]
    args = train_util.read_config_from_file(parser.parse_args(), parser)
    train_util.verify_training_args(args)
    train_util.prepare_dataset_args(args, True)
    strategy_base.LatentsCachingStrategy._strategy = None
    strategy_base.LatentsCachingStrategy.set_strategy(trainer.get_latents_caching_strategy(args))
    sanitizer = config_util.ConfigSanitizer(True, True, args.masked_loss, True)
    if args.dataset_config is None:
        user = {
            "datasets": [
                {
                    "subsets": config_util.generate_dreambooth_subsets_config_by_subdirs(
                        args.train_data_dir, args.reg_data_dir
                    )
                }
            ]
        }
    else:
        user = config_util.load_user_config(args.dataset_config)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(user, args)
    train, validation = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    trainer.assert_extra_args(args, train, validation)
    if args.cache_latents:
        assert train.is_latent_cacheable()
    buckets = [
        [list(size), len(keys)]
        for dataset in train.datasets
        for size, keys in zip(
            dataset.bucket_manager.resos, dataset.bucket_manager.buckets, strict=True
        )
        if keys
    ]
    return {
        "batches": len(train),
        "train_images": train.num_train_images,
        "reg_images": train.num_reg_images,
        "validation_images": validation.num_train_images if validation else 0,
        "buckets": sorted(buckets),
        "held_out": sorted(validation.image_data) if validation else [],
    }


def folders(question):
    return [
        [subset["image_dir"], subset["num_repeats"], subset["class_tokens"]]
        for subset in config_util.generate_dreambooth_subsets_config_by_subdirs(question["root"])
    ]


def buckets(question):
    answers = []
    for rules, sizes in question["cases"]:
        try:
            low, high = train_util.BaseDataset.adjust_min_max_bucket_reso_by_steps(
                None, rules["resolution"], rules["min"], rules["max"], rules["step"]
            )
            manager = train_util.BucketManager(
                rules["no_upscale"], tuple(rules["resolution"]), low, high, rules["step"]
            )
            if not rules["no_upscale"]:
                manager.make_buckets()
        except (AssertionError, ZeroDivisionError, ValueError) as error:
            answers.append(f"refused: {type(error).__name__}")
            continue
        answers.append([choose(manager, *size) for size in sizes])
    return answers


def choose(manager, width, height):
    try:
        size, scaled, error = manager.select_bucket(width, height)
    except (AssertionError, ZeroDivisionError) as error:
        return type(error).__name__
    return [list(size), list(scaled), error]


def answer(question):
    try:
        return {
            "ok": {"start": start, "folders": folders, "buckets": buckets}[question["kind"]](
                question
            )
        }
    except BaseException as error:  # noqa: BLE001  (SystemExit too: the question failed, the next one is put all the same)
        return {
            "failed": f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc()[-3000:],
        }


for line in sys.stdin:
    asked = line.rstrip("\n")
    with open(asked, encoding="utf-8") as file:
        questions = json.load(file)
    answers = {name: answer(question) for name, question in questions.items()}
    with open(asked + ".tmp", "w", encoding="utf-8") as file:
        json.dump(answers, file, default=str)
    os.replace(asked + ".tmp", asked.removesuffix(".json") + ".answers")
