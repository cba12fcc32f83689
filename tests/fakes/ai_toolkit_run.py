"""ai-toolkit's run.py as it behaves: reads its YAML, goes on from the newest file of its name, prints its lines, writes its files.
LOSSES is what it prints, space-separated, one a step (0 is its NaN); PAUSE seconds a step; FAIL_AT a step that raises.
"""

import json
import os
import signal
import struct
import sys
import time
import zlib
from pathlib import Path
from zipfile import ZipFile

import yaml

EXPERTS = ("high_noise", "low_noise")
NAMES = {  # what it calls a base, and one of the modules there
    "flux": ("flux.1", "transformer.transformer_blocks.0.attn.to_out.0"),
    "qwen_image": ("qwen_image", "diffusion_model.transformer_blocks.0.attn.to_q"),
    "wan22_14b": ("wan_2.2_14b", "diffusion_model.blocks.0.self_attn.q"),
}


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def bar(name: str, count: int, steps: int, loss: str = "") -> None:
    tail = f", lr: 1.0e-04 loss: {float(loss):.3e}" if loss else ""
    sys.stderr.write(
        f"\r{name}: {100 * count // steps:3d}%|##        | {count}/{steps} [00:04<00:05,  1.42s/it{tail}]"
    )
    sys.stderr.flush()


def lora(path: Path, step: int, arch: str) -> None:
    base, module = NAMES.get(arch, ("fake", "transformer.mid"))
    header: dict[str, object] = {
        "__metadata__": {
            "training_info": json.dumps({"step": step, "epoch": 0}),
            "ss_base_model_version": base,
        }
    }
    data = b""
    for name, shape in (("lora_A", [4, 8]), ("lora_B", [8, 4])):
        body = struct.pack("<32f", *[0.25] * 32)
        header[f"{module}.{name}.weight"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(body)],
        }
        data += body
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def save(root: Path, name: str, step: int, shown: str, arch: str) -> None:
    parts = [f"_{part}" for part in EXPERTS] if arch == "wan22_14b" else [""]
    for part in parts:
        lora(root / f"{name}{shown}{part}.safetensors", step, arch)
    say(f"Saved checkpoint to {root / f'{name}{shown}.safetensors'}")
    with ZipFile(root / "optimizer.pt", "w") as file:
        file.writestr("step", str(step))
    say(f"Saved optimizer to {root / 'optimizer.pt'}")


def picture(colour: tuple[int, int, int], side: int = 64) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(colour) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def moments(root: Path) -> str:
    with ZipFile(root / "optimizer.pt") as file:
        return f"step {file.read('step').decode()}"


def main() -> None:
    config = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))["config"]
    name, process = config["name"], config["process"][0]
    root = Path(process["training_folder"]) / name
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text("job: extension\n")
    say("Running 1 job")
    begin = process["train"].get("start_step", 0)
    if begin:
        say(f"Using pretrained lora path from config: {process['network']['pretrained_lora_path']}")
        say(f"Loading optimizer state from {root / 'optimizer.pt'}: {moments(root)}")
    elif left := sorted(root.glob(f"{name}*"), key=lambda path: path.stat().st_ctime):
        say(f"#### IMPORTANT RESUMING FROM {left[-1]} ####")
        header = left[-1].read_bytes()[8:].split(b"}", 1)[0]
        begin = int(header.split(b'step\\": ')[1].split(b",")[0])
        say(f"Found step {begin} in metadata, starting from there")
    pictures = 0
    for one in process["datasets"]:
        place = Path(one["folder_path"])
        found = [path for path in place.iterdir() if path.suffix in {".png", ".jpg"}]
        if not found:
            raise SystemExit(f"no images found in {place}")
        pictures += len(found)
        (place / ".aitk_size.json").write_text("{}")
        (place / "_latent_cache").mkdir(exist_ok=True)
    say(f"Caching latents to disk, {pictures} pictures, seed {os.environ.get('SEED')}")
    steps, every = process["train"]["steps"], process["save"]["save_every"]
    losses = os.environ.get("LOSSES", "").split() or [
        f"{1 / step:.3g}" for step in range(1, steps + 1)
    ]
    bar(name, begin, steps)
    for step in range(begin, steps):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if os.environ.get("FAIL_AT") == str(step):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        bar(name, step, steps, losses[step])
        if step != begin and every and step % every == 0:
            say(f"\nSaving at step {step}")
            save(root, name, step, f"_{step:09d}", process["model"]["arch"])
            (root / "samples").mkdir(exist_ok=True)
            for number, _ in enumerate(process["sample"].get("samples", [{}])):
                place = root / "samples" / f"1764316800123__{step:09d}_{number}.png"
                place.write_bytes(picture((step % 256, 90, 60 * number)))
        bar(name, step + 1, steps, losses[step])
    say("")
    save(root, name, steps, "", process["model"]["arch"])


try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
except KeyboardInterrupt:
    say("Job stopped")
