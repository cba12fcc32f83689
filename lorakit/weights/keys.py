"""What a LoRA file holds, read from the names in its header, whoever wrote it: kohya and musubi,
diffusers and PEFT, ai-toolkit, ComfyUI's own form, LyCORIS. Reads no numbers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.errors import Fault, RecipeError
from lorakit.weights.identify import sniff
from lorakit.weights.module_names import FLUX_BLOCKS, diffusers_names, dotted, ldm_names, rename
from lorakit.weights.safetensors import Header, Shape, read_header

KOHYA = "kohya"
FORMS = (KOHYA, "diffusers", "comfy")  # ai-toolkit writes diffusers' or comfy's, musubi kohya's
MODEL = "model"  # the part that is no text encoder
# How a key ends -> what the tensor is. In LyCORIS the word itself says it.
_ENDS = re.compile(
    r"""(?P<head>.+?)(?:
    [._](?P<pair>lora_(?:down|up|mid|A|B)|lora(?:_linear_layer)?\.(?:down|up))
        (?:\.default(?:_\d+)?)?\.weight
    | \.(?P<dora>dora_scale|lora_magnitude_vector(?:\.default)?(?:\.weight)?)
    | \.(?P<word>alpha|(?:hada_(?:w\d|t\d)|lokr_(?:w\d|t2))(?:_[ab])?|scalar|diff|diff_b)
    )""",
    re.VERBOSE,
)
_ROLES = {"lora_A": "down", "lora_B": "up"}
# How a key begins -> the part of the model. The longer ones first.
_FLAT = {
    **{
        f"{word}_te{number}_": f"te{number}" for word in ("lora", "lycoris") for number in (1, 2, 3)
    },
    **{f"{word}_te_": "te1" for word in ("lora", "lycoris")},
    **dict.fromkeys(("lora_unet_", "lycoris_unet_", "lora_transformer_", "lycoris_"), MODEL),
}
_DOTTED = {
    "text_encoders.clip_l.transformer.": "te1",
    "text_encoders.clip_g.transformer.": "te2",
    "text_encoders.t5xxl.transformer.": "te3",
    "text_encoder_3.": "te3",
    "text_encoder_2.": "te2",
    "text_encoder.": "te1",
    **dict.fromkeys(("model.diffusion_model.", "diffusion_model.", "transformer.", "unet."), MODEL),
}
_COMFY_TEXT = {one: head for head, one in _DOTTED.items() if head.startswith("text_encoders")}
_DIFFUSERS_TEXT = {"te1": "text_encoder.", "te2": "text_encoder_2.", "te3": "text_encoder_3."}
_FROM_DIFFUSERS = {  # FLUX: piece -> (blocks, module, which piece of it)
    f"{theirs}.N.{piece}": (f"{ours}.N.{module}", number)
    for ours, (table, theirs) in FLUX_BLOCKS.items()
    for module, pieces in table.items()
    for number, piece in enumerate(pieces)
}
_TO_DIFFUSERS = {
    f"{ours}.N.{module}": [f"{theirs}.N.{piece}" for piece in pieces]
    for ours, (table, theirs) in FLUX_BLOCKS.items()
    for module, pieces in table.items()
}
UNETS = ("sd15", "sd2", "sdxl")


@dataclass(frozen=True)
class Module:
    """One module's adapter. `path` is dotted, in the words of the file."""

    part: str  # model, te1, te2, te3
    path: str
    tensors: Mapping[str, str]  # down, up, mid, alpha, dora, hada_w1_a, ... -> the tensor's name

    @property
    def kind(self) -> str:
        if any(role.startswith("hada") for role in self.tensors):
            return "LoHa"
        if any(role.startswith("lokr") for role in self.tensors):
            return "LoKr"
        if {"down", "up"} <= set(self.tensors):
            return "DoRA" if "dora" in self.tensors else "LoRA"
        return "full" if "diff" in self.tensors else "incomplete"

    @property
    def name(self) -> str:
        return self.path if self.part == MODEL else f"{self.part}.{self.path}"

    @property
    def block(self) -> str:
        """Where in the network: double_blocks.3, mid_block, te1."""
        if self.part != MODEL:
            return self.part
        found = re.match(r"[^.]+\.\d+", self.path)
        return found[0] if found else self.path.partition(".")[0]


@dataclass(frozen=True)
class LoraFile:
    path: Path
    header: Header
    form: str  # kohya, diffusers, comfy, peft
    family: str  # "" where nothing says
    modules: tuple[Module, ...]
    others: tuple[str, ...] = field(default=())  # keys that belong to no adapter we know

    def shape(self, module: Module, role: str) -> Shape:
        return self.header.tensors[module.tensors[role]].shape

    def rank(self, module: Module) -> int:
        """0: of full rank."""
        for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
            if role in module.tensors:
                return self.shape(module, role)[0]
        return 0


def read_lora(path: Path) -> LoraFile:
    """Raises with a sentence where the file is no LoRA."""
    sniffed = sniff(path)
    if sniffed.kind == "pickle":
        what = "is pickled: opening it would run whatever code it holds, so lorakit does not."
        raise _no_lora(path, what, "Convert it to safetensors where you trust it.")
    header = sniffed.header or read_header(path)  # which says why it cannot be read
    found: dict[tuple[str, str], dict[str, str]] = {}
    others, forms = [], list[str]()
    for key in header.tensors:
        place = _place(key)
        if place is None:
            others.append(key)
            continue
        part, at, role, form = place
        found.setdefault((part, at), {})[role] = key
        forms.append(form)
    if not found:
        kind = {"unknown": "something else"}.get(sniffed.kind, f"a {sniffed.kind}")
        raise _no_lora(path, f"holds no LoRA: by its names it is {kind}.", "")
    form = max((*FORMS, "peft"), key=forms.count)
    modules = tuple(Module(part, at, roles) for (part, at), roles in found.items())
    return LoraFile(path, header, form, sniffed.family, modules, tuple(others))


def _no_lora(path: Path, what: str, hint: str) -> RecipeError:
    return RecipeError("Nothing was read.", faults=[Fault(str(path), what, hint, "no-lora")])


def _place(key: str) -> tuple[str, str, str, str] | None:
    """Part, path, role and form of one tensor's name."""
    match = _ENDS.fullmatch(key)
    if match is None:
        return None
    pair = match["pair"] or ""
    role = _ROLES.get(pair) or pair.rpartition("_" if "." not in pair else ".")[2]
    role = role or ("dora" if match["dora"] else match["word"])
    head = match["head"].removeprefix("base_model.model.")
    form = "peft" if head != match["head"] else ""
    for prefix, part in _FLAT.items():
        if head.startswith(prefix):
            return part, dotted(head.removeprefix(prefix)), role, KOHYA
    for prefix, part in _DOTTED.items():
        if head.startswith(prefix):
            native = prefix.startswith(("diffusion", "model", "text_encoders"))
            path = head.removeprefix(prefix).replace(".processor.", ".").removesuffix(".processor")
            path = re.sub(r"\.to_out$", ".to_out.0", path) if part == MODEL else path
            return part, path, role, "comfy" if native else "diffusers"
    return MODEL, head, role, form or "diffusers"


def native_path(path: str, family: str) -> tuple[str, int | None]:
    """Its makers' name; and which piece of that module this is, where diffusers split it."""
    if family in UNETS:
        return rename(path, ldm_names(family)), None
    any_block, number = _unnumbered(path)
    if family != "flux" or any_block not in _FROM_DIFFUSERS:
        return path, None
    ours, piece = _FROM_DIFFUSERS[any_block]
    alone = len(_TO_DIFFUSERS[ours]) == 1
    return ours.replace(".N.", number, 1), None if alone else piece


def diffusers_paths(native: str, family: str) -> list[str]:
    """The same in diffusers' words: several where it has split the module."""
    if family in UNETS:
        return [rename(native, diffusers_names(family))]
    any_block, number = _unnumbered(native)
    if family != "flux" or any_block not in _TO_DIFFUSERS:
        return [native]
    return [piece.replace(".N.", number, 1) for piece in _TO_DIFFUSERS[any_block]]


def _unnumbered(path: str) -> tuple[str, str]:
    """The module in any of FLUX's blocks, and the number of this one with its dots."""
    number = re.search(r"\.\d+\.", path)
    return (path.replace(number[0], ".N.", 1), number[0]) if number else (path, "")


def key_head(part: str, path: str, family: str, form: str) -> str:
    """How the keys of a module begin in a form; `path` in that form's own words."""
    if form == KOHYA:
        text = "te" if family in {"sd15", "sd2"} else part
        return f"lora_{'unet' if part == MODEL else text}_{path.replace('.', '_')}"
    if form == "comfy":
        return _COMFY_TEXT.get(part, "diffusion_model.") + path
    return _DIFFUSERS_TEXT.get(part, "unet." if family in UNETS else "transformer.") + path


def paths_in(form: str, part: str, native: str, family: str) -> list[str]:
    """In a form's words: kohya has diffusers' for SD1.5 and SD2, the makers' for the others."""
    own_words = form == "comfy" or (form == KOHYA and family not in {"sd15", "sd2"})
    return [native] if own_words or part != MODEL else diffusers_paths(native, family)


def blocks(modules: Iterable[Module]) -> list[str]:
    """Every block once, in the order of the network: numbers count as numbers."""

    def order(name: str) -> list[tuple[int, str]]:
        return [(int(one), "") if one.isdigit() else (-1, one) for one in re.split(r"(\d+)", name)]

    return sorted({module.block for module in modules}, key=order)
