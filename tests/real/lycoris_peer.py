"""LyCORIS' own modules beside ours, in the Python that trains with sd-scripts: the same factors, the
same input, the same gradient coming back. Prints how far apart all of it is; "absent" where the
package lycoris-lora is not installed there.

    python lycoris_peer.py LORAKIT
"""

from __future__ import annotations

import copy
import json
import sys

import torch
from torch import nn

sys.path.insert(0, sys.argv[1])

try:
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule
except ImportError:
    print("absent")
    raise SystemExit(0) from None

from lorakit.embedded.network.lora import Dropout, Network, Shape
from lorakit.embedded.network.lycoris import Rebuilt

KINDS = {"lora": LoConModule, "loha": LohaModule, "lokr": LokrModule}
FORMS = [
    {"algo": algo, **more}
    for algo, several in (
        ("lora", [{"dora_wd": "True"}, {"rs_lora": "True"}]),
        ("loha", [{}, {"dora_wd": "True"}]),
        ("lokr", [{"factor": "4"}, {"factor": "4", "decompose_both": "True", "dora_wd": "True"}]),
        ("lokr", [{"full_matrix": "True"}, {}]),
    )
    for more in several
]
WORDS = {"dora_wd": "weight_decompose"}


def far(extra, module, x) -> float:
    theirs_on, ours_on = copy.deepcopy(module), copy.deepcopy(module).requires_grad_(False)
    words = {WORDS.get(name, name): value == "True" for name, value in extra.items()}
    words |= {"factor": int(extra["factor"])} if "factor" in extra else {}
    words.pop("algo")
    theirs = KINDS[extra["algo"]]("x", theirs_on, 1.0, 3, 2.0, **words)
    theirs.apply_to()
    ours = Network(
        [Shape("x", ours_on, 3, 2.0, "unet")],
        Dropout(),
        seed=1,
        device="cpu",
        dtype=torch.float32,
        make=lambda shape, dropout: Rebuilt(shape, dropout, extra),
    )
    state = {f"x.{name}": value.detach() for name, value in theirs.custom_state_dict().items()}
    named = ours.named()
    assert {*named, "x.alpha"} == {*state}, (extra, sorted(named), sorted(state))
    assert torch.equal(state["x.alpha"], ours.state_dict()["x.alpha"]), extra
    torch.manual_seed(3)
    for name, value in named.items():
        assert value.shape == state[name].shape, (extra, name)
        new = state[name] + torch.randn_like(state[name]) * 0.2
        own = dict(theirs.named_parameters()).get(name[2:])
        with torch.no_grad():
            own.copy_(new)
            value.copy_(new)
    ours.refresh()
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    answers = ours_on(mine), theirs_on(other)
    grad = torch.randn_like(answers[0])
    for answer in answers:
        answer.backward(grad)
    pairs = [answers, (mine.grad, other.grad)]
    learned = dict(theirs.named_parameters())
    pairs += [(value.grad, learned[name[2:]].grad) for name, value in named.items()]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


torch.manual_seed(1)
layers = {
    "linear": (nn.Linear(24, 32), torch.randn(2, 5, 24)),
    "conv": (nn.Conv2d(8, 12, 3, 2, 1), torch.randn(2, 8, 9, 7)),
}
found = {
    " ".join([kind, *map("=".join, extra.items())]): far(extra, *layers[kind])
    for kind in layers
    for extra in FORMS
}
print(json.dumps(found))
