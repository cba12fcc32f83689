"""A checkout of sd-scripts with nothing in it but this: reads --config_file as the real script does, says its lines, writes a
LoRA and one sample picture.
"""

import sys
from pathlib import Path

import toml

sys.path.insert(0, str(Path(__file__).parents[1]))

from saying import bar, lora, opening, say

settings = toml.loads(Path(sys.argv[sys.argv.index("--config_file") + 1]).read_text())
output, name, steps = (
    Path(settings["output_dir"]),
    settings["output_name"],
    settings["max_train_steps"],
)
opening(steps)
say("\nepoch 1/1\n")
for step in range(1, steps + 1):
    bar(step, steps, f"{1 / step:.3g}")
if "sample_prompts" in settings:
    from PIL import Image

    (output / "sample").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "teal").save(
        output / "sample" / f"{name}_{steps:06d}_00_20260101120000_42.png"
    )
lora(output / f"{name}.safetensors", steps)
say("model saved.")
