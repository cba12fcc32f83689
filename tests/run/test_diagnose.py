"""Every failure we recognise, by the text its program really prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lorakit.run.diagnose import diagnose
from lorakit.run.outcome import Outcome
from lorakit.run.symptoms import SYMPTOMS

FAILED = Outcome("failed", Path("runs/fox/20260101-120000"), 1, recipe="recipes/fox.toml", settings={"learning_rate": 1e-4})

# text as printed: (rule, the remedy's end)
TEXTS = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB":
        ("gpu-memory", "--set cache_latents=true"),
    "RuntimeError: MPS backend out of memory (MPS allocated: 17.89 GB, other allocations: 270 MB, max allowed: 18.13 GB).":
        ("mps-memory", "--set gradient_checkpointing=true"),
    "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)":
        ("disk-full", "lorakit plan recipes/fox.toml"),
    "OSError: [Errno 28] No space left on device: 'fox.safetensors'": ("disk-full", "lorakit plan recipes/fox.toml"),
    "RuntimeError: [enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.":
        ("host-memory", "--set train_batch_size=1"),
    "RuntimeError: unable to open shared memory object </torch_41_25> in read-write mode: Too many open files (24)":
        ("shared-memory", "--set max_data_loader_n_workers=0"),
    "ValueError: fp16 mixed precision requires a GPU (not 'mps').": ("mps-fp16", "--set mixed_precision=no"),
    "ValueError: bf16 mixed precision requires PyTorch >= 1.10 and a supported device.": ("mps-bf16", "--set mixed_precision=no"),
    "RuntimeError: expected m1 and m2 to have the same dtype, but got: c10::Half != float": ("cpu-fp16", "--set mixed_precision=no"),
    "ValueError: Unknown mixed_precision mode: fp32. Choose between ['no', 'fp8', 'fp16', 'bf16']": ("precision-name", "mixed_precision=no"),
    "NotImplementedError: The operator 'aten::_upsample' is not currently implemented for the MPS device.":
        ("mps-operator", "PYTORCH_ENABLE_MPS_FALLBACK=1 lorakit train recipes/fox.toml"),
    "AssertionError: Torch not compiled with CUDA enabled": ("mps-validation", "--set validation_split=0.0"),
    "ERROR    No data found. Please verify arguments (train_data_dir must be the": ("no-images", "lorakit dataset check recipes/fox.toml"),
    "RuntimeError: NaN detected in latents: datasets/a.png": ("latents-nan", "--set no_half_vae=true"),
    "RuntimeError: stack expects each tensor to be equal size, but got [4, 8, 8] at entry 0": ("cache-mismatch", "dataset check recipes/fox.toml"),
    "PIL.UnidentifiedImageError: cannot identify image file '/data/10_fox/a.png'": ("bad-image", "lorakit dataset check recipes/fox.toml"),
    "OSError: image file is truncated (12 bytes not processed)": ("bad-image", "lorakit dataset check recipes/fox.toml"),
    "ZeroDivisionError: division by zero": ("tiny-image", "lorakit dataset check recipes/fox.toml"),
    "AssertionError: image too large, but cropping and bucketing are disabled / 画像サイズ": ("image-size", "--set enable_bucket=true"),
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 3": ("caption-encoding", "lorakit dataset check recipes/fox.toml"),
    "AssertionError: caption file is empty: a.txt": ("caption-empty", "lorakit dataset check recipes/fox.toml"),
    "UnicodeEncodeError: 'charmap' codec can't encode characters in position 0-3": ("console-encoding", "train recipes/fox.toml"),
    'ValueError: The provided pretrained_model_name_or_path "m/no.safetensors" is neither a valid local path nor a valid repo id.':
        ("model-missing", "lorakit plan recipes/fox.toml"),
    "TypeError: expected str, bytes or os.PathLike object, not NoneType": ("tokenizer", "HF_HUB_OFFLINE=0 lorakit train recipes/fox.toml"),
    "TypeError: stat: path should be string, bytes, os.PathLike or integer, not NoneType": ("sample-prompts", "sample.every_n_epochs=0"),
    "RuntimeError: Error(s) in loading state_dict for UNet2DConditionModel:": ("wrong-model", "lorakit plan recipes/fox.toml"),
    "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer": ("model-broken", "plan recipes/fox.toml"),
    "ValueError: Unsupported fp8 model dtype: torch.float8_e5m2": ("fp8-kind", "lorakit plan recipes/fox.toml"),
    "ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです": ("missing-bitsandbytes", "--set optimizer_type=AdamW"),
    "ImportError: No xformers / xformersがインストールされていないようです": ("missing-xformers", "--unset xformers --set sdpa=true"),
    "ModuleNotFoundError: No module named 'prodigyopt.prodigy'": ("missing-package", "-m pip install prodigyopt"),
    "AttributeError: module 'torch.optim' has no attribute 'Foo'": ("optimizer-name", "--set optimizer_type=AdamW"),
    "ValueError: SchedulerType.CONSTANT does not require num_warmup_steps. Set None or 0.": ("warmup", "lr_scheduler=constant_with_warmup"),
    "ValueError: 'cosin' is not a valid SchedulerType, please select one of ['linear']": ("scheduler-name", "--set lr_scheduler=cosine"),
    "ValueError: persistent_workers option needs num_workers > 0": ("workers-option", "persistent_data_loader_workers=false"),
    "AssertionError: network for Text Encoder cannot be trained with caching Text Encoder outputs": ("te-cache", "text_encoder_outputs=false"),
    "AssertionError: when caching latents, either color_aug or random_crop cannot be used": ("latent-cache", "--set random_crop=false"),
    "AssertionError: full_fp16 requires mixed precision='fp16'": ("full-precision", "--unset full_fp16"),
    "AssertionError: Cannot swap more than 17 double blocks": ("block-swap", "--set blocks_to_swap=18"),
    "AssertionError: bucket_reso_steps is 32. it must be divisible by 64.": ("bucket-step", "--set bucket_reso_steps=64"),
    "AssertionError: max_bucket_reso must be equal or greater than resolution": ("bucket-range", "lorakit plan recipes/fox.toml"),
    "AssertionError: max_train_steps should be greater than initial step / max_train_stepsは": ("resume-past-end", "lorakit runs"),
    "train_network.py: error: unrecognized arguments: --netwrok_dim 8": ("unknown-option", "lorakit plan recipes/fox.toml"),
    "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['foo']": ("bad-config", "lorakit plan recipes/fox.toml"),
    "AttributeError: 'NoneType' object has no attribute 'startswith'": ("network-module", "--set network_module=networks.lora"),
    "RuntimeError: No CUDA GPUs are available": ("no-cuda", "nvidia-smi"),
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered": ("cuda-error", "lorakit train recipes/fox.toml"),
    "torch.distributed.DistNetworkError: The server socket has failed to listen. port: 29500, EADDRINUSE": ("port", "main_port=29511"),
    "ConnectionError: Tried to launch distributed communication on port `29500`, but another process is utilizing it.":
        ("port", "main_port=29511"),
    "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.":
        ("machines-apart", "lorakit plan recipes/fox.toml"),
    "runs/fox/20260101-120000/output/fox-state: this state has 4 steps; another machine has one with fewer or more.":
        ("states-apart", "lorakit log"),
    "traceback : Signal 9 (SIGKILL) received by PID 4711": ("process-killed", "--set train_batch_size=1"),
    "[rank0]: RuntimeError: [pair.cc:537 of gloo] Read error [127.0.0.1]:16799: Connection reset by peer.": ("peer", "lorakit explain"),
    "RuntimeError: DataLoader worker (pid(s) 4711) exited unexpectedly": ("worker-died", "--set max_data_loader_n_workers=0"),
    "OSError: [Errno 30] Read-only file system: 'output'": ("read-only", "lorakit train recipes/fox.toml"),
    "FileNotFoundError: [Errno 2] No such file or directory: 'models/vae.safetensors'": ("missing-file", "lorakit plan recipes/fox.toml"),
    "subprocess.CalledProcessError: Command '[...]' died with <Signals.SIGSEGV: 11>.": ("crash", "lorakit train recipes/fox.toml"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_known_text_gives_its_cause_and_a_command(text: str) -> None:
    rule, end = TEXTS[text]
    found = diagnose(["something before", text, "subprocess.CalledProcessError: Command returned non-zero exit status 1."], FAILED)
    assert found.rule == rule
    assert found.evidence == text
    assert found.remedy.endswith(end)
    assert "{" not in found.cause + found.remedy


def test_every_rule_of_the_table_has_a_text() -> None:
    untold = {symptom.rule for symptom in SYMPTOMS} - {rule for rule, _ in TEXTS.values()}
    assert untold <= {"cache-broken", "gated", "min-lr"}


def test_what_was_caught_stands_in_the_cause() -> None:
    assert "models/vae.safetensors" in diagnose(["FileNotFoundError: [Errno 2] No such file or directory: 'models/vae.safetensors'"], FAILED).cause


def test_the_end_of_the_log_wins_over_an_old_warning() -> None:
    lines = ["No module named 'xformers', going on without", *["steps"] * 100, "ZeroDivisionError: division by zero"]
    assert diagnose(lines, FAILED).rule == "tiny-image"


@pytest.mark.parametrize(("settings", "remedy"), [
    ({"mixed_precision": "fp16"}, "--set no_half_vae=true"),
    ({"mixed_precision": "fp16", "no_half_vae": True}, "--set mixed_precision=bf16"),
    ({"mixed_precision": "bf16", "learning_rate": 4e-4}, "--set learning_rate=0.0001"),
])
def test_nan_has_the_likeliest_remedy_first(settings: dict[str, object], remedy: str) -> None:
    assert diagnose(["steps: 1/2 avr_loss=nan"], replace(FAILED, nan=True, settings=settings)).remedy.endswith(remedy)


def test_a_kill_that_the_kernel_counted_is_memory() -> None:
    assert diagnose([], replace(FAILED, signal=9), memory_killed=True).rule == "host-memory"


def test_a_kill_without_a_word_is_said_with_care() -> None:
    found = diagnose(["steps: 3/4"], replace(FAILED, signal=9, exit_code=None))
    assert found.rule == "killed"
    assert "if nobody did it by hand" in found.cause


def test_an_unknown_failure_is_called_unknown_and_shows_the_error_line() -> None:
    found = diagnose(["Traceback (most recent call last):", "KeyError: 'tea'", "subprocess.CalledProcessError: returned 1"], FAILED)
    assert (found.rule, found.evidence, found.remedy) == ("unknown", "KeyError: 'tea'", "lorakit log fox/20260101-120000")


def test_a_recipe_with_a_space_is_quoted() -> None:
    assert diagnose(["MemoryError"], replace(FAILED, recipe="my recipes/a fox.toml")).remedy.startswith("lorakit train 'my recipes/a fox.toml'")
