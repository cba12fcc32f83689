"""The table of failures we recognise: what the log says, what it means, what to type. Texts are
quoted as the programs print them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Symptom:
    """`remedy` is a command; {again} is `lorakit train RECIPE`, {recipe} the recipe's path, {0},
    {1} ... what the pattern caught.
    """

    rule: str
    pattern: re.Pattern[str]
    cause: str
    remedy: str


def _symptom(rule: str, pattern: str, cause: str, remedy: str) -> Symptom:
    return Symptom(rule, re.compile(pattern), cause, remedy)


# The first that matches wins, so the particular stands before the general.
SYMPTOMS: tuple[Symptom, ...] = (
    _symptom(
        "gpu-memory",
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|HIP out of"
        r" memory|CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU has too little memory for these settings",
        "{again} --set train_batch_size=1 --set gradient_checkpointing=true --set"
        " cache_latents=true",
    ),
    _symptom(
        "mps-memory",
        r"MPS backend out of memory",
        "the Mac's shared memory is too small for these settings",
        "{again} --set train_batch_size=1 --set gradient_checkpointing=true",
    ),
    _symptom(
        "disk-full",
        r"No space left on device|Disk quota exceeded|File too large|\[Errno 2[78]\]"
        r"|inline_container\.cc:\d+\] \. unexpected pos",
        "the disk (or a quota) is full; a file that was being written is cut short",
        "df -h . && lorakit plan {recipe}",
    ),
    _symptom(
        "host-memory",
        r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)|\bMemoryError\b|Cannot"
        r" allocate memory",
        "this machine's main memory is too small for these settings",
        "{again} --set max_data_loader_n_workers=0 --set train_batch_size=1",
    ),
    _symptom(
        "shared-memory",
        r"Bus error.*shared memory|unable to (?:open|allocate) shared memory|insufficient shared"
        r" memory",
        "the data workers have too little shared memory (/dev/shm), as in many containers",
        "{again} --set max_data_loader_n_workers=0",
    ),
    _symptom(
        "mps-fp16",
        r"fp16 mixed precision requires a GPU",
        "accelerate refuses fp16 on this device",
        "{again} --set mixed_precision=no",
    ),
    _symptom(
        "mps-bf16",
        r"bf16 mixed precision requires PyTorch",
        "accelerate refuses bf16 on this device",
        "{again} --set mixed_precision=no",
    ),
    _symptom(
        "cpu-fp16",
        r"expected m1 and m2 to have the same dtype, but got: c10::Half|not implemented for 'Half'",
        "fp16 does not work on a CPU",
        "{again} --set mixed_precision=no",
    ),
    _symptom(
        "precision-name",
        r"Unknown mixed_precision mode: (\S+)\.|mixed_precision = '(\w+)': must be one of",
        "mixed_precision = {0} is no mode that accelerate knows",
        "{again} --set mixed_precision=no",
    ),
    _symptom(
        "mps-operator",
        r"not (?:currently )?implemented for the MPS device|operator .* is not .*implemented"
        r" .* MPS",
        "torch has no such operation on Apple GPUs",
        "PYTORCH_ENABLE_MPS_FALLBACK=1 {again}",
    ),
    _symptom(
        "mps-validation",
        r"Torch not compiled with CUDA enabled",
        "something asked for CUDA where there is none; on a Mac the script's validation does so",
        "{again} --set validation_split=0.0",
    ),
    _symptom(
        "no-images",
        r"No data found\. Please verify arguments|: holds no images\.",
        "the script found no images to train on",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "latents-nan",
        r"NaN detected in latents",
        "the VAE overflows in half precision",
        "{again} --set no_half_vae=true",
    ),
    _symptom(
        "cache-mismatch",
        r"stack expects each tensor to be equal size",
        "cached latents of different sizes met in one batch: the cache is older than the settings",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "cache-broken",
        r"Error loading file: (.+\.npz)",
        "the cache file {0} is damaged",
        "rm {0} && {again}",
    ),
    _symptom(
        "cache-broken",
        r"BadZipFile|This file contains pickled \(object\) data|EOFError: No data left in file",
        "a cache file (.npz) beside the images is damaged",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "bad-image",
        r"Error loading file: (.+)|cannot identify image file '?([^'>]+)|failed to get image size:"
        r" (.+?)(?:, error|$)"
        r"|error: (.+\.(?:png|jpe?g|webp|bmp|gif|tiff?|avif|jxl|PNG|JPE?G|WEBP|BMP)): ",
        "the image {0} cannot be read",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "bad-image",
        r"image file is truncated|Invalid JPEG file",
        "an image cannot be read; the script does not say which one",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "tiny-image",
        r"ZeroDivisionError",
        "an image is broken or smaller than one bucket step, or an every-n setting is 0",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "image-size",
        r"image too large, but cropping and bucketing are disabled|image size is small",
        "an image does not have the resolution asked for, and bucketing is off",
        "{again} --set enable_bucket=true",
    ),
    _symptom(
        "caption-encoding",
        r"illegal char in file \(not UTF-8\): (\S+)|error: (\S+): is not UTF-8",
        "the caption {0} is not UTF-8",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "caption-encoding",
        r"illegal char in file \(not UTF-8\)|UnicodeDecodeError",
        "a caption is not UTF-8",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "caption-empty",
        r"caption file is empty",
        "a caption file has no bytes",
        "lorakit dataset check {recipe}",
    ),
    _symptom(
        "console-encoding",
        r"UnicodeEncodeError: '(?:charmap|cp\d+|ascii)'",
        "the console cannot show the script's Japanese",
        "PYTHONUTF8=1 {again}",
    ),
    _symptom(
        "model-missing",
        r'The provided pretrained_model_name_or_path "([^"]+)" is neither'
        r"|Cannot load model (\S+): model is not cached locally|pretrained_model_name_or_path: (.+)"
        r" does not exist",
        "the base model {0} does not exist",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "tokenizer",
        r"We couldn't connect to"
        r" 'https://huggingface\.co'|LocalEntryNotFoundError|OfflineModeIsEnabled"
        r"|host=\\?'huggingface\.co|expected str, bytes or os\.PathLike object, not NoneType",
        "a tokenizer (or model) is not on this machine and the hub was not reached",
        "HF_HUB_OFFLINE=0 {again}",
    ),
    _symptom(
        "gated",
        r"GatedRepoError|401 Client Error",
        "the hub gives this model only to those who have agreed to its terms and are logged in",
        "huggingface-cli login && {again}",
    ),
    _symptom(
        "sample-prompts",
        r"stat: path should be string, bytes, os\.PathLike or integer, not NoneType",
        "sampling is on but there are no prompts",
        "{again} --set sample.every_n_epochs=0",
    ),
    _symptom(
        "wrong-model",
        r"Error\(s\) in loading state_dict|size mismatch for|Missing key\(s\) in state_dict"
        r"|KeyError: '[\w.]+\.(?:weight|bias)'|this is .+; the recipe's family is \w+",
        "the base model is of another family than the recipe",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "model-broken",
        r"SafetensorError: Error while deserializing|InvalidHeader|MetadataIncompleteBuffer"
        r"|: not a (?:whole|valid) safetensors file",
        "a weight file is damaged or was not downloaded to its end",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "fp8-kind",
        r"Unsupported fp8 model dtype",
        "the script takes fp8 weights of the kind e4m3fn only",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "missing-bitsandbytes",
        r"No bitsandbytes|needs the package bitsandbytes|The version of bitsandbytes installed"
        r" seems to be old"
        r"|No module named 'bitsandbytes'|CUDA Setup failed despite GPU|libbitsandbytes",
        "the 8-bit optimiser's package, bitsandbytes, is missing or does not fit this CUDA",
        "{again} --set optimizer_type=AdamW",
    ),
    _symptom(
        "missing-xformers",
        r"No xformers|No module named 'xformers'",
        "xformers is not installed",
        "{again} --unset xformers --set sdpa=true",
    ),
    _symptom(
        "network-module",
        r"'NoneType' object has no attribute 'startswith'|No module named '(networks\.\w+)'",
        "network_module is not set, or names none that exists",
        "{again} --set network_module=networks.lora",
    ),
    _symptom(
        "missing-package",
        r"ModuleNotFoundError: No module named '([\w.]+)'|ImportError: No (\w+)|needs the package"
        r" ([\w-]+)",
        "the trainer's Python lacks the package {0}",
        "{python} -m pip install {0}",
    ),
    _symptom(
        "optimizer-name",
        r"module 'torch\.optim' has no attribute '(\w+)'|optimizer_type '(\S+)': [\w.]+ has no such"
        r" optimiser",
        "there is no optimiser called {0}",
        "{again} --set optimizer_type=AdamW",
    ),
    _symptom(
        "warmup",
        r"SchedulerType\.CONSTANT does not require num_warmup_steps|does not require"
        r" `?num_warmup_steps"
        r"|lr_warmup_steps: schedule 'constant' has no warm-up",
        "a constant schedule cannot have warm-up steps",
        "{again} --set lr_scheduler=constant_with_warmup",
    ),
    _symptom(
        "scheduler-name",
        r"is not a valid SchedulerType|lr_scheduler = '\w+': is not known",
        "there is no such lr_scheduler",
        "{again} --set lr_scheduler=cosine",
    ),
    _symptom(
        "min-lr",
        r"min_lr.*(?:min_lr_rate|must be set)",
        "the schedule needs lr_scheduler_min_lr_ratio",
        "{again} --set lr_scheduler_min_lr_ratio=0.1",
    ),
    _symptom(
        "workers-option",
        r"persistent_workers option needs num_workers > 0",
        "persistent workers need at least one worker",
        "{again} --set persistent_data_loader_workers=false",
    ),
    _symptom(
        "te-cache",
        r"when caching Text Encoder output|network for Text Encoder cannot be trained with"
        r" caching|T5XXL is trained, so",
        "cached text-encoder outputs do not go with shuffling, dropout or a trained text encoder",
        "{again} --set cache_text_encoder_outputs=false",
    ),
    _symptom(
        "latent-cache",
        r"when caching latents, either color_aug or random_crop cannot be used",
        "cached latents do not go with color_aug or random_crop",
        "{again} --set color_aug=false --set random_crop=false",
    ),
    _symptom(
        "full-precision",
        r"(full_fp16|full_bf16|fp8_base) requires mixed precision",
        "{0} needs the matching mixed_precision",
        "{again} --unset {0}",
    ),
    _symptom(
        "block-swap",
        r"Cannot swap more than",
        "blocks_to_swap is larger than the model allows",
        "{again} --set blocks_to_swap=18",
    ),
    _symptom(
        "bucket-step",
        r"bucket_reso_steps is (\d+)\. it must be divisible by (\d+)",
        "bucket_reso_steps = {0} must be a multiple of {1}",
        "{again} --set bucket_reso_steps={1}",
    ),
    _symptom(
        "bucket-range",
        r"(min_bucket_reso|max_bucket_reso) must be equal or (?:less|greater)",
        "{0} does not enclose the resolution",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "resume-past-end",
        r"max_train_steps should be greater than initial step",
        "the state is already at the last step: nothing is left to train",
        "lorakit runs",
    ),
    _symptom(
        "unknown-option",
        r"error: unrecognized arguments: (.+)|error: .* (\w+): there is no such option",
        "the script does not know {0}",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "bad-config",
        r"TomlDecodeError|MultipleInvalid|Invalid user config",
        "the script could not read the settings written for it",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "no-cuda",
        r"No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insufficient"
        r"|no kernel image is available",
        "torch cannot use this machine's GPU (none, driver too old, or a torch built for other"
        " cards)",
        "nvidia-smi",
    ),
    _symptom(
        "cuda-error",
        r"CUDA error: (.+)|cuDNN error|NCCL error|device-side assert",
        "the GPU or its driver reported an error: {0}",
        "nvidia-smi && {again}",
    ),
    _symptom(
        "port",
        r"port: (\d+),.* EADDRINUSE|EADDRINUSE|[Aa]ddress already in use"
        r"|Tried to launch distributed communication on port `(\d+)`",
        "another launch uses the port of this one ({0})",
        "{again} --set main_port=29511",
    ),
    _symptom(
        "worker-died",
        r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited unexpectedly|is killed by"
        r" signal)",
        "a data worker (pid {0}) died; most often the machine's memory was full",
        "{again} --set max_data_loader_n_workers=0",
    ),
    _symptom(
        "read-only",
        r"Read-only file system(?:: '([^']+)')?|PermissionError: \[Errno 13\][^:]*: '?([^']*)",
        "a folder cannot be written: {0}",
        "ls -ld runs && {again}",
    ),
    _symptom(
        "missing-file",
        r"\[Errno 2\] No such file or directory: '([^']+)'|FileNotFoundError: No such file or"
        r" directory: \"?([^\"]+)"
        r"|Tried to find (\S+) but folder does not exist|error: (?:\w+: )?(\S+): there is no such"
        r" file",
        "{0} does not exist",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "machines-apart",
        r"waiting for clients\. \d+/\d+ clients joined|client socket has (?:timed out|failed to"
        r" connect)",
        "the machines did not find one another: each must be started within a few minutes, and"
        " main_address and main_port be reached",
        "lorakit plan {recipe}",
    ),
    _symptom(
        "states-apart",
        r"this state has \d+ steps; another machine has one with fewer or more",
        "the newest states of the machines are not of the same step",
        "lorakit log",
    ),
    _symptom(
        "crash",
        r"Segmentation fault|Fatal Python error|Illegal instruction|died with"
        r" <Signals\.SIG(?:SEGV|BUS|ILL|ABRT)",
        "a library crashed in machine code; often a package that does not fit torch or this"
        " processor",
        "{again}",
    ),
    _symptom(
        "process-killed",
        r"Signal 9 \(SIGKILL\) received by PID (\d+)",
        "one of the processes (pid {0}) was killed from outside; if nobody did it by hand, memory"
        " was full",
        "{again} --set max_data_loader_n_workers=0 --set train_batch_size=1",
    ),
    _symptom(
        "peer",
        r"gloo.*(?:Connection (?:reset|closed)|Broken pipe|Timed out)|ncclRemoteError|remote"
        r" process exited",
        "another process of this run ended, on this machine or on another one, where its own cause"
        " is told",
        "lorakit explain",
    ),
    _symptom(
        "refused",
        r"^error: (.+)",
        "the embedded trainer refused to start or to go on: {0}",
        "lorakit plan {recipe}",
    ),
)
