"""Run by the Python of sd-scripts: `python kohya_peer.py CHECKOUT OUT.safetensors`. Its own functions answer the questions of kohya_cases.py."""

from __future__ import annotations

import json
import random
import sys
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

CHECKOUT, OUT = sys.argv[1:]
sys.path[:0] = [CHECKOUT]

import kohya_cases as cases  # noqa: E402
from library import custom_train_functions as weights  # noqa: E402
from library import flux_train_utils, sd3_train_utils, train_util  # noqa: E402
from networks.lora import LoRANetwork  # noqa: E402
from train_network import NetworkTrainer  # noqa: E402

tensors: dict[str, torch.Tensor] = {}
words: dict[str, object] = {}


def captions() -> None:
    for number, rules in enumerate(cases.CAPTION_RULES):
        for place, text in enumerate(cases.CAPTIONS):
            for seed in cases.SEEDS:
                random.seed(seed)
                dataset = SimpleNamespace(**cases.PLACE, replacements={})
                subset = SimpleNamespace(**{**cases.CAPTION, **rules})
                words[f"caption.{number}.{place}.{seed}"] = train_util.BaseDataset.process_caption(
                    dataset, subset, text
                )


def inputs(shape):
    torch.manual_seed(5)
    return torch.randn(shape) + 0.3, torch.randn(shape)


def diffusion() -> None:
    for number, more in enumerate(cases.DIFFUSION):
        args = SimpleNamespace(**{**cases.LOSS, **more})
        latents, answer = inputs(cases.DIFFUSION_SHAPE)
        schedule = NetworkTrainer().get_noise_scheduler(args, "cpu")
        random.seed(1)
        torch.manual_seed(2)
        noise, noisy, t = train_util.get_noise_noisy_latents_and_timesteps(args, schedule, latents)
        target = schedule.get_velocity(latents, noise, t) if args.v_parameterization else noise
        threshold = train_util.get_huber_threshold_if_needed(args, t, schedule)
        loss = train_util.conditional_loss(answer, target, args.loss_type, "none", threshold).mean(
            [1, 2, 3]
        )
        loss = NetworkTrainer().post_process_loss(loss, args, t, schedule)
        for name, value in {"noise": noise, "noisy": noisy, "t": t, "loss": loss}.items():
            tensors[f"diffusion.{number}.{name}"] = value.float().contiguous()


def flow() -> None:
    for number, more in enumerate(cases.FLOW):
        args = SimpleNamespace(**{**cases.LOSS, **more})
        latents, answer = inputs(cases.FLOW_SHAPE)
        schedule = sd3_train_utils.FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1000, shift=args.discrete_flow_shift
        )
        torch.manual_seed(2)
        noise = torch.randn_like(latents)
        noisy, t, sigmas = flux_train_utils.get_noisy_model_input_and_timesteps(
            args, schedule, latents, noise, "cpu", torch.float32
        )
        predicted, weighting = flux_train_utils.apply_model_prediction_type(
            args, answer, noisy, sigmas
        )
        threshold = train_util.get_huber_threshold_if_needed(args, t, schedule)
        loss = train_util.conditional_loss(
            predicted, noise - latents, args.loss_type, "none", threshold
        )
        loss = (loss if weighting is None else loss * weighting).mean([1, 2, 3])
        for name, value in {"noisy": noisy, "t": t, "loss": loss}.items():
            tensors[f"flow.{number}.{name}"] = value.float().contiguous()


def rates() -> None:
    for number, case in enumerate(cases.RATES):
        for count in cases.PROCESSES:
            optimizer = torch.optim.AdamW(
                [torch.zeros(1, requires_grad=True)], lr=case["learning_rate"]
            )
            schedule = train_util.get_scheduler_fix(SimpleNamespace(**case), optimizer, count)
            seen = []
            for _ in range(case["max_train_steps"]):
                seen.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                for _ in range(count):  # as accelerate steps it
                    schedule.step()
            words[f"rate.{number}.{count}"] = seen


def places() -> None:
    for number, (size, bucket) in enumerate(cases.SIZES):
        left, top, right, _ = train_util.BucketManager.get_crop_ltrb(bucket, size)
        plain, flipped = torch.LongTensor((top, left)), torch.LongTensor((top, bucket[0] - right))
        words[f"size.{number}"] = [plain.tolist(), flipped.tolist()]
    for number, (count, share, seed) in enumerate(cases.SPLITS):
        names = [f"{index:03d}" for index in range(count)]
        kept, _ = train_util.split_train_val(
            names,
            [None] * count,
            is_training_dataset=True,
            validation_split=share,
            validation_seed=seed,
        )
        words[f"split.{number}"] = kept


def norms() -> None:
    for number, limit in enumerate(cases.NORMS):
        torch.manual_seed(3)
        state = {
            "a.lora_down.weight": torch.randn(4, 6),
            "a.lora_up.weight": torch.randn(8, 4),
            "a.alpha": torch.tensor(2.0),
            "c.lora_down.weight": torch.randn(2, 3, 3, 3),
            "c.lora_up.weight": torch.randn(4, 2, 1, 1),
            "c.alpha": torch.tensor(2.0),
        }
        words[f"norms.{number}"] = LoRANetwork.apply_max_norm_regularization(
            SimpleNamespace(state_dict=lambda state=state: state), limit, "cpu"
        )
        tensors.update({f"norms.{number}.{name}": value.clone() for name, value in state.items()})


assert weights
for ask in (captions, diffusion, flow, rates, places, norms):
    ask()
words = json.loads(json.dumps(words))
save_file(tensors, OUT, metadata={"words": json.dumps(words)})
