"""Our samplers draw what diffusers' schedulers of the same names draw, step for step."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.catalogue.options import options  # noqa: E402
from lorakit.embedded.drawing.samplers import SAMPLERS, euler, flow_path, path  # noqa: E402

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {  # as kohya's scripts make them
    "ddim": ("DDIMScheduler", {"clip_sample": False, "steps_offset": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
}
SHAPE = (1, 4, 8, 8)


def network(x: Any, t: Any) -> Any:
    """In place of a denoiser: not linear, and different at every timestep."""
    return torch.tanh(x * 1.3 + float(t) / 700) * 0.8 + x.roll(1, -1) * 0.1


def theirs(scheduler: Any, steps: int, chance: Any) -> Any:
    scheduler.set_timesteps(steps)
    x = torch.randn(SHAPE, generator=chance) * scheduler.init_noise_sigma
    more = {"generator": chance} if "generator" in scheduler.step.__code__.co_varnames else {}
    for t in scheduler.timesteps:
        answer = network(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(answer, t, x, **more).prev_sample
    return x


def ours(name: str, kind: str, steps: int, chance: Any) -> Any:
    way = path(name, steps)

    def clean(x: Any, place: int) -> Any:
        sigma = way.sigmas[place]
        spread = (sigma**2 + 1) ** 0.5
        answer = network(x / spread, way.timesteps[place])
        if kind == "v_prediction":
            return x / spread**2 - answer * sigma / spread
        return x - sigma * answer

    start = torch.randn(SHAPE, generator=chance) * way.start
    return SAMPLERS[name](clean, start, way.sigmas, lambda: torch.randn(SHAPE, generator=chance))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sampler_is_diffusers_scheduler_of_that_name(name: str, kind: str, steps: int) -> None:
    schedulers = pytest.importorskip("diffusers.schedulers", reason="compares with diffusers")
    cls, settings = THEIRS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers and numpy 2 about copies
        scheduler = getattr(schedulers, cls)(**BETAS, **settings, prediction_type=kind)
        expected = theirs(scheduler, steps, torch.Generator().manual_seed(3))
    found = ours(name, kind, steps, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5 * float(expected.abs().max()))


def test_the_flow_is_walked_straight_down_to_the_clean_picture() -> None:
    way = flow_path(4, 8, 8)
    assert [*way.timesteps, 0.0] == pytest.approx([1000 * sigma for sigma in way.sigmas])
    assert (way.sigmas[0], way.sigmas[-1]) == (1.0, 0.0)
    noise, picture = torch.randn(SHAPE), torch.randn(SHAPE)

    def clean(x: Any, place: int) -> Any:
        return x - way.sigmas[place] * (noise - picture)

    torch.testing.assert_close(euler(clean, noise, way.sigmas, lambda: noise), picture)


def test_the_catalogue_offers_the_samplers_that_there_are() -> None:
    offered = options("embedded", "train_network.py")["sample_sampler"].choices
    assert set(offered) == {*SAMPLERS, "k_euler", "k_euler_a"}
