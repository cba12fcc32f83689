"""A prompt and its options in one line, as kohya's text files have it: `a fox --w 512 --d 7`."""

import re
from collections.abc import Mapping
from typing import Any

# kohya's options in a prompt line, and the key and type that each becomes.
IN_PROMPT: Mapping[str, tuple[str, type]] = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "l": ("scale", float),
    "g": ("guidance_scale", float),
    "n": ("negative_prompt", str),
    "ss": ("sample_sampler", str),
    "cn": ("controlnet_image", str),
    "ctr": ("cfg_trunc_ratio", float),
    "rcfg": ("renorm_cfg", float),
    "fs": ("flow_shift", str),
}
FROM_PICTURES: Mapping[str, tuple[str, type]] = {
    "i": ("image_path", str),  # the first frame
    "f": ("frame_count", int),
    "ci": ("control_image_path", str),
}


def prompt_line(prompt: Mapping[str, Any]) -> str:
    """The same the other way, of kohya's keys."""
    marks = {key: mark for mark, (key, _) in IN_PROMPT.items()}
    tail = (f" --{marks[key]} {value}" for key, value in prompt.items() if key in marks)
    return str(prompt.get("prompt", "")) + "".join(tail)


def read_prompt(line: str, more: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A prompt line as kohya's text files write it: the prompt, then ` --option value`. Unknown
    options are reported, not dropped.
    """
    prompt, *tail = line.split(" --")
    found: dict[str, Any] = {"prompt": prompt}
    problems = []
    for option in tail:
        word, _, value = option.strip().partition(" ")
        key, kind = {**IN_PROMPT, **more}.get(word.lower(), ("", str))
        if not key:
            problems.append(
                f"{line!r}: kohya has no prompt option --{word} and would cut it out of the prompt."
            )
            continue
        if kind is int and not re.fullmatch(r"\d+", value.strip()):
            problems.append(f"{line!r}: --{word} takes an integer.")
            continue
        try:
            found[key] = kind(value.strip())
        except ValueError:
            problems.append(f"{line!r}: --{word} takes a number.")
    return found, problems
