"""Run by sd-scripts' own Python, inside its checkout: reads train.toml files exactly as train_network.py does and says what it counts.

argv: a JSON file with [{"script": ..., "toml": ..., "processes": P}, ...]; answers one JSON list on the last line of stdout.
"""

import importlib
import json
import math
import sys


def counted(case: dict) -> dict:
    from library import config_util, deepspeed_utils, strategy_base, train_util
    from library.config_util import BlueprintGenerator, ConfigSanitizer

    script = importlib.import_module(case["script"].removesuffix(".py"))
    parser = script.setup_parser()
    sys.argv = [case["script"], "--config_file", case["toml"]]
    args = parser.parse_args()
    train_util.verify_command_line_training_args(args)
    args = train_util.read_config_from_file(args, parser)
    train_util.verify_training_args(args)
    train_util.prepare_dataset_args(args, True)
    deepspeed_utils.prepare_deepspeed_args(args)
    trainer = next(
        getattr(script, name)
        for name in dir(script)
        if name.endswith("NetworkTrainer") and getattr(script, name).__module__ == script.__name__
    )()
    strategy_base.LatentsCachingStrategy._strategy = trainer.get_latents_caching_strategy(args)
    config = {
        "datasets": [
            {
                "subsets": config_util.generate_dreambooth_subsets_config_by_subdirs(
                    args.train_data_dir, args.reg_data_dir
                )
            }
        ]
    }
    if args.dataset_config is not None:
        config = config_util.load_user_config(args.dataset_config)
    blueprint = BlueprintGenerator(ConfigSanitizer(True, True, args.masked_loss, True)).generate(
        config, args
    )
    group, validation = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    if case["script"] != "train_network.py":
        trainer.assert_extra_args(args, group, validation)
    batches = len(group)
    processes, accumulation = case["processes"], args.gradient_accumulation_steps
    mine = math.ceil(batches / processes)
    if args.max_train_epochs is not None:
        args.max_train_steps = args.max_train_epochs * math.ceil(batches / processes / accumulation)
    dataset = group.datasets[0]
    buckets = [
        [f"{size[0]}x{size[1]}", len(bucket)]
        for manager in (one.bucket_manager for one in group.datasets)
        for size, bucket in sorted(zip(manager.resos, manager.buckets, strict=True))
        if bucket
    ]
    held = sorted(validation.datasets[0].image_data) if validation else []
    return {
        "batches": batches,
        "mine": mine,
        "train_images": group.num_train_images,
        "reg_images": group.num_reg_images,
        "validation_images": validation.num_train_images if validation else 0,
        "total": args.max_train_steps,
        "buckets": buckets,
        "epochs": math.ceil(args.max_train_steps / math.ceil(mine / accumulation)),
        "held": held,
        "captions": {info.absolute_path: info.caption for info in dataset.image_data.values()},
    }


if __name__ == "__main__":
    real_argv = list(sys.argv)
    with open(real_argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    answers = []
    for case in cases:
        try:
            answers.append(counted(case))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (each case answers, whatever becomes of it)
            answers.append({"error": f"{type(error).__name__}: {error}"})
    print("\n" + json.dumps(answers))
