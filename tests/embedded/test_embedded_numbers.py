"""The formulas against the libraries that everybody uses: schedules, noise, losses, and the fused adapter against its plain sum."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.models.low_bits import shrink  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network, Shape  # noqa: E402
from lorakit.embedded.training import flow, noise  # noqa: E402
from lorakit.embedded.training.optimizers import Average, LossScale  # noqa: E402
from lorakit.errors import RecipeError  # noqa: E402
from lorakit.trainers.embedded.schedulers import schedule  # noqa: E402

RATE = 1e-3


def options(**more: Any) -> argparse.Namespace:
    values = {
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "lr_decay_steps": 0,
        "lr_scheduler_num_cycles": 1,
        "lr_scheduler_power": 1.0,
        "lr_scheduler_timescale": None,
        "lr_scheduler_min_lr_ratio": None,
        "lr_scheduler_args": None,
        "learning_rate": RATE,
        "noise_offset": None,
        "noise_offset_random_strength": False,
        "adaptive_noise_scale": None,
        "multires_noise_iterations": None,
        "multires_noise_discount": 0.3,
        "ip_noise_gamma": None,
        "ip_noise_gamma_random_strength": False,
        "min_snr_gamma": None,
        "v_parameterization": False,
        "scale_v_pred_loss_like_noise_pred": False,
        "v_pred_like_loss": None,
        "debiased_estimation_loss": False,
        "loss_type": "l2",
        "huber_c": 0.1,
        "huber_scale": 1.0,
        "huber_schedule": "snr",
        "timestep_sampling": "sigma",
        "sigmoid_scale": 1.0,
        "discrete_flow_shift": 3.0,
        "weighting_scheme": "uniform",
        "logit_mean": 0.0,
        "logit_std": 1.0,
        "mode_scale": 1.29,
        "model_prediction_type": "raw",
    }
    return argparse.Namespace(**{**values, **more})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "theirs"),
    [
        ("linear", {}, {}),
        ("cosine", {}, {}),
        ("constant_with_warmup", {}, {}),
        ("cosine_with_restarts", {"lr_scheduler_num_cycles": 3}, {"num_cycles": 3}),
        ("polynomial", {"lr_scheduler_power": 2.0}, {"power": 2.0}),
        ("inverse_sqrt", {"lr_scheduler_timescale": 20}, {"timescale": 20}),
        (
            "cosine_with_min_lr",
            {"lr_scheduler_min_lr_ratio": 0.1, "lr_scheduler_num_cycles": 2},
            {"min_lr_rate": 0.1, "num_cycles": 1.0},
        ),
        (
            "warmup_stable_decay",
            {"lr_decay_steps": 30, "lr_scheduler_min_lr_ratio": 0.2},
            {"num_stable_steps": 65, "num_decay_steps": 30, "min_lr_ratio": 0.2, "num_cycles": 0.5},
        ),
    ],
)
def test_schedules_are_those_of_transformers(
    name: str, more: dict[str, Any], theirs: dict[str, Any]
) -> None:
    optimization = pytest.importorskip(
        "transformers.optimization", reason="compares with transformers"
    )

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    make = optimization.TYPE_TO_SCHEDULER_FUNCTION[optimization.SchedulerType(name)]
    if name not in ("constant_with_warmup", "inverse_sqrt", "warmup_stable_decay"):
        theirs = {**theirs, "num_training_steps": 100}
    peer = make(optimizer, num_warmup_steps=5, **theirs)
    factor = schedule(options(lr_scheduler=name, lr_warmup_steps=5, **more), 100)
    for step in range(101):
        assert RATE * factor(step) == pytest.approx(peer.get_last_lr()[0], rel=1e-9, abs=1e-15), (
            step
        )
        optimizer.step()
        peer.step()


def test_pieces_shares_and_refusals_of_schedules() -> None:
    factor = schedule(
        options(
            lr_scheduler="piecewise_constant", lr_scheduler_args=["step_rules='1:10,0.1:20,0.01'"]
        ),
        100,
    )
    assert [factor(step) for step in (0, 9, 10, 19, 20, 99)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert schedule(options(lr_scheduler="linear", lr_warmup_steps=0.1), 100)(5) == 0.5
    with pytest.raises(RecipeError, match="Did you mean cosine"):
        schedule(options(lr_scheduler="cosin"), 100)
    with pytest.raises(RecipeError, match="no warm-up"):
        schedule(options(lr_warmup_steps=10), 100)
    with pytest.raises(RecipeError, match="lr_scheduler_min_lr_ratio"):
        schedule(options(lr_scheduler="cosine_with_min_lr"), 100)


@pytest.mark.slow
def test_noising_and_velocity_are_those_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.training_utils import compute_snr

    peer = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
    )
    ours = noise.Schedule(zero_terminal_snr=False, device="cpu")
    latents, white, t = (
        torch.randn(4, 4, 8, 8),
        torch.randn(4, 4, 8, 8),
        torch.tensor([0, 10, 500, 999]),
    )
    torch.testing.assert_close(ours.noised(latents, white, t), peer.add_noise(latents, white, t))
    torch.testing.assert_close(
        ours.velocity(latents, white, t), peer.get_velocity(latents, white, t)
    )
    torch.testing.assert_close(ours.snr[t], compute_snr(peer, t), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_zero_terminal_snr_ends_in_pure_noise_and_begins_unchanged() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    peer = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )
    ours = noise.Schedule(zero_terminal_snr=True, device="cpu")
    assert float(ours.signal[-1]) == 0.0
    torch.testing.assert_close(ours.signal, peer.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_min_snr_weights_by_hand() -> None:
    ours = noise.Schedule(zero_terminal_snr=False, device="cpu")
    t, ones = torch.tensor([0, 400, 999]), torch.ones(3)
    snr = ours.snr[t]
    torch.testing.assert_close(
        noise.weighted(ones, t, ours, options(min_snr_gamma=5.0)),
        torch.minimum(snr, torch.tensor(5.0)) / snr,
    )
    torch.testing.assert_close(
        noise.weighted(ones, t, ours, options(min_snr_gamma=5.0, v_parameterization=True)),
        torch.minimum(snr, torch.tensor(5.0)) / (snr + 1),
    )
    torch.testing.assert_close(
        noise.weighted(ones, t, ours, options(debiased_estimation_loss=True)),
        1 / snr.clamp(max=1000).sqrt(),
    )
    share = snr.clamp(max=1000) / (snr.clamp(max=1000) + 1)
    both = options(
        v_parameterization=True, scale_v_pred_loss_like_noise_pred=True, v_pred_like_loss=0.5
    )
    torch.testing.assert_close(noise.weighted(ones, t, ours, both), share + 0.5)


def test_losses_by_hand() -> None:
    a, b = torch.tensor([[[[3.0]]]]), torch.tensor([[[[1.0]]]])
    root = math.sqrt(4 + 0.25) - 0.5
    for kind, value in {
        "l2": 4.0,
        "l1": 2.0,
        "huber": 2 * 0.5 * root,
        "smooth_l1": 2 * root,
    }.items():
        args = options(loss_type=kind, huber_schedule="constant", huber_c=0.5)
        assert float(noise.distance(a, b, torch.tensor([1]), args, None)) == pytest.approx(value)


def test_huber_thresholds_of_the_three_schedules() -> None:
    ours = noise.Schedule(zero_terminal_snr=False, device="cpu")
    t = torch.tensor([0, 999])
    assert noise.huber_threshold(
        t, options(huber_schedule="constant", huber_scale=2.0), ours
    ).tolist() == pytest.approx([0.2, 0.2])
    first, last = noise.huber_threshold(t, options(huber_schedule="exponential"), ours).tolist()
    assert (first, last) == (pytest.approx(1.0), pytest.approx(0.1, rel=0.01))
    first, last = noise.huber_threshold(t, options(), ours).tolist()
    assert first > 0.9
    assert last == pytest.approx(0.1 + 0.9 / (1 + 14.6) ** 2, rel=0.02)


def test_offset_pyramid_and_perturbation_change_the_noise_as_asked() -> None:
    latents = torch.ones(2, 4, 16, 16)
    torch.manual_seed(0)
    plain = noise.sample_noise(latents, options(), 1)
    torch.manual_seed(0)
    offset = noise.sample_noise(latents, options(noise_offset=0.1), 1)
    difference = offset - plain
    assert float(difference.flatten(2).std(dim=2).max()) < 1e-6
    assert float(difference.abs().max()) > 0.01
    torch.manual_seed(0)
    pyramid = noise.sample_noise(latents, options(multires_noise_iterations=6), 1)
    assert float(pyramid.std()) == pytest.approx(1.0, abs=1e-5)
    torch.manual_seed(0)
    again = noise.sample_noise(latents, options(multires_noise_iterations=6), 1)
    assert torch.equal(pyramid, again)
    assert noise.perturbed(plain, options()) is plain
    assert float(
        (noise.perturbed(plain, options(ip_noise_gamma=0.1)) - plain).std()
    ) == pytest.approx(0.1, rel=0.1)


def test_flow_shares_follow_their_sampling() -> None:
    torch.manual_seed(0)
    for sampling in ("sigma", "uniform", "sigmoid", "shift", "flux_shift"):
        share = flow.sigmas(2000, 64, 64, options(timestep_sampling=sampling))
        assert 0 <= float(share.min()) < float(share.max()) <= 1
        assert (float(share.mean()) > 0.55) == (sampling in ("sigma", "shift", "flux_shift")), (
            sampling
        )
    for scheme in ("logit_normal", "mode", "cosmap", "sigma_sqrt", "none"):
        share = flow.sigmas(100, 64, 64, options(weighting_scheme=scheme))
        assert bool(share.isfinite().all())


@pytest.mark.slow
def test_the_flow_table_is_the_euler_schedule_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    peer = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    share = flow._from_table(torch.arange(1000) / 1000 + 1e-6, 3.0)
    torch.testing.assert_close(share * 1000, peer.timesteps, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(share, peer.sigmas[:1000], rtol=1e-5, atol=1e-6)


def test_predictions_of_the_three_types() -> None:
    out, noisy, share = torch.tensor([[[[2.0]]]]), torch.tensor([[[[3.0]]]]), torch.tensor([0.5])
    assert flow.prediction(out, noisy, share, options())[0] is out
    assert (
        float(flow.prediction(out, noisy, share, options(model_prediction_type="additive"))[0])
        == 5.0
    )
    scaled, weight = flow.prediction(
        out,
        noisy,
        share,
        options(model_prediction_type="sigma_scaled", weighting_scheme="sigma_sqrt"),
    )
    assert weight is not None and (float(scaled), float(weight)) == (2.0, 4.0)


def network(dropout: Dropout | None = None) -> tuple[Any, Network]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8),
        torch.nn.Conv1d(1, 1, 1).requires_grad_(requires_grad=False),
        torch.nn.Linear(8, 5),
    )
    conv = torch.nn.Conv2d(3, 4, 3, padding=1)
    for module in (model, conv):
        module.requires_grad_(requires_grad=False)
    shapes = [
        Shape("a", model[0], 4, 2.0, "unet"),
        Shape("b", model[2], 4, 2.0, "unet"),
        Shape("c", conv, 2, 2.0, "unet"),
    ]
    made = Network(shapes, dropout or Dropout(), seed=3, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        for adapter in made.adapters:
            adapter.up.normal_()
    model.conv = conv
    return model, made


def test_the_fused_product_and_its_gradients_equal_the_plain_sum() -> None:
    model, made = network()
    x = torch.randn(2, 3, 6, requires_grad=True)
    adapter = made.adapters[0]
    made.zero_grad()
    out = model[0](x)
    out.square().sum().backward()
    down, up = (part.detach().clone().requires_grad_() for part in (adapter.down, adapter.up))
    y = x.detach().clone().requires_grad_()
    plain = (
        torch.nn.functional.linear(y, model[0].weight, model[0].bias)
        + (y @ down.t() @ up.t()) * 0.5
    )
    plain.square().sum().backward()
    torch.testing.assert_close(out, plain)
    for ours, theirs in (
        (adapter.down.grad, down.grad),
        (adapter.up.grad, up.grad),
        (x.grad, y.grad),
    ):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(
        made.flat["unet"].grad[: down.numel()], down.grad.flatten()
    ) or torch.allclose(made.flat["unet"].grad[: down.numel()], down.grad.flatten())


def test_a_convolution_of_single_pixels_and_its_gradients_equal_the_plain_sum() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 5, 1).requires_grad_(requires_grad=False)
    made = Network(
        [Shape("a", layer, 2, 1.0, "unet")], Dropout(), seed=3, device="cpu", dtype=torch.float32
    )
    (adapter,) = made.adapters
    with torch.no_grad():
        adapter.up.normal_()
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    out = layer(x)
    out.square().sum().backward()
    down, up = (part.detach().clone().requires_grad_() for part in (adapter.down, adapter.up))
    y = x.detach().clone().requires_grad_()
    conv = torch.nn.functional.conv2d
    plain = conv(y, layer.weight, layer.bias) + conv(conv(y, down), up) * 0.5
    plain.square().sum().backward()
    torch.testing.assert_close(out, plain)
    pairs = ((adapter.down.grad, down.grad), (adapter.up.grad, up.grad), (x.grad, y.grad))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


def test_layers_compute_with_one_cast_a_step_and_their_gradients_come_back_wide() -> None:
    """bf16 layers, float32 weights: the numbers of a cast in every call, from one of all weights."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 8).to(torch.bfloat16).requires_grad_(requires_grad=False)
    made = Network(
        [Shape("a", layer, 4, 2.0, "unet")], Dropout(), seed=3, device="cpu", dtype=torch.float32
    )
    (adapter,) = made.adapters
    with torch.no_grad():
        adapter.up.normal_()
    assert not bool(adapter.work["up"].any())
    made.refresh()
    x = torch.randn(3, 6, dtype=torch.bfloat16)
    down, up = (part.detach().clone().requires_grad_() for part in (adapter.down, adapter.up))
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    plain = plain.addmm(x @ down.bfloat16().t(), up.bfloat16().t(), alpha=0.5)
    plain.sum().backward()
    for _ in range(2):  # two batches of a step
        out = layer(x)
        assert torch.equal(out, plain)
        out.sum().backward()
        made.gather()
    assert adapter.up.grad.dtype == torch.float32
    torch.testing.assert_close(adapter.up.grad, 2 * up.grad, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(adapter.down.grad, 2 * down.grad, rtol=1e-2, atol=1e-2)
    assert not bool(made.work["unet"].grad.any())


def test_a_layer_in_eight_bits_answers_and_learns_as_its_widened_weights_do() -> None:
    torch.manual_seed(0)
    narrow = shrink(torch.nn.Sequential(torch.nn.Linear(6, 8)), torch.float32)
    x = torch.randn(3, 6, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected = torch.nn.functional.linear(y, narrow[0].weight.float(), narrow[0].bias)
    narrow(x).square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(x.grad, y.grad)
    assert narrow[0].weight.dtype == torch.float8_e4m3fn


def test_lower_halves_begin_evenly_within_kaimings_bound_and_upper_halves_at_zero() -> None:
    layer = torch.nn.Linear(400, 8)
    made = Network(
        [Shape("a", layer, 16, 1.0, "unet")], Dropout(), seed=3, device="cpu", dtype=torch.float32
    )
    down = made.adapters[0].down.detach()
    assert 0.049 < float(down.abs().max()) <= 0.05  # 1 / sqrt(400)
    assert float(down.std()) == pytest.approx(0.1 / 12**0.5, rel=0.03)
    assert not bool(made.adapters[0].up.any())


def test_all_weights_lie_in_one_flat_tensor_and_move_with_it() -> None:
    _, made = network()
    flat = made.flat["unet"]
    assert flat.numel() == sum(
        adapter.down.numel() + adapter.up.numel() for adapter in made.adapters
    )
    with torch.no_grad():
        flat.fill_(2.0)
    assert all(
        bool((tensor == 2.0).all())
        for key, tensor in made.state_dict().items()
        if not key.endswith("alpha")
    )


def test_dropout_drops_in_training_only_and_conv_layers_get_their_product() -> None:
    model, made = network(Dropout(neuron=0.5, rank=0.5, module=0.2))
    x = torch.randn(4, 3, 6)
    made.train(on=True)
    assert len({float(model[0](x).detach().sum()) for _ in range(8)}) > 1
    made.train(on=False)
    assert torch.equal(model[0](x), model[0](x))
    picture = torch.randn(1, 3, 5, 5)
    adapter = made.adapters[2]
    expected = torch.nn.functional.conv2d(
        picture, adapter.module.weight, adapter.module.bias, padding=1
    )
    low = torch.nn.functional.conv2d(picture, adapter.down, padding=1)
    torch.testing.assert_close(
        model.conv(picture), expected + torch.nn.functional.conv2d(low, adapter.up)
    )


def test_the_average_follows_quickly_at_first_and_gives_the_weights_back() -> None:
    _, made = network()
    average = Average(made, 0.5)
    expected = made.flat["unet"].detach().clone()
    for step, keep in ((1, 2 / 11), (2, 3 / 12), (30, 0.5)):
        with torch.no_grad():
            made.flat["unet"].add_(1.0)
        average.set_step(step)
        average.update()
        expected = keep * expected + (1 - keep) * made.flat["unet"].detach()
    torch.testing.assert_close(average.flat["unet"], expected)
    own = made.flat["unet"].detach().clone()
    with average.in_place():
        assert torch.equal(made.flat["unet"], average.flat["unet"])
    assert torch.equal(made.flat["unet"], own)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["neuron", "rank", "module"])
def test_each_kind_of_dropout_drops_what_its_name_says_and_makes_up_for_it(kind: str) -> None:
    model, made = network(Dropout(**{kind: 0.5}))
    adapter, x = made.adapters[0], torch.randn(4, 3, 6)
    plain = torch.nn.functional.linear(x, model[0].weight, model[0].bias)
    seen = []
    for seed in range(8):
        torch.manual_seed(seed)
        out = model[0](x)
        torch.manual_seed(seed)
        low, scale = x @ adapter.down.t(), 0.5
        if kind == "neuron":
            low = torch.nn.functional.dropout(low, 0.5)
        elif kind == "rank":
            low, scale = low * (torch.rand(4, 4) > 0.5)[:, None], 1.0
        elif float(torch.rand(1)) < 0.5:
            low = low * 0
        torch.testing.assert_close(out, plain + low @ adapter.up.t() * scale)
        seen.append(torch.equal(out, plain))
    assert any(seen) == (kind == "module")
    assert not all(seen)


def test_long_adapters_are_scaled_to_the_limit() -> None:
    _, made = network()
    scaled, mean, highest = made.limit_norms(0.5)
    assert scaled == 3
    assert mean <= highest <= 0.5 + 1e-6
    assert made.limit_norms(0.5001)[0] == 0


@pytest.mark.slow
def test_the_loss_scale_follows_torchs_rule() -> None:
    ours, peer = LossScale(), torch.amp.GradScaler("cpu", growth_interval=2000)
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for step in range(2100):
        finite = step not in (3, 4, 2050)
        peer.scale(torch.ones(1))  # makes its tensors
        weight.grad = torch.tensor([1.0 if finite else math.inf])
        peer.step(optimizer)
        peer.update()
        ours.after(torch.tensor(0.0 if finite else 1.0))
        assert float(ours.scale) == peer.get_scale(), step
    assert ours.facts() == {"scale": peer.get_scale(), "finite_steps": 49}


@pytest.mark.slow
def test_a_step_needs_neither_torchs_compiler_nor_the_large_libraries() -> None:
    """Each would cost seconds of every start."""
    big = {"torch._dynamo", "sympy", "diffusers", "transformers", "accelerate", "pandas"}
    code = f"""
import sys, torch, lorakit.embedded.training.loop
from lorakit.embedded.training.adamw import AdamW
weight = torch.ones(3, requires_grad=True)
weight.grad = torch.ones(3)
for _ in "ab":
    print([name for name in sys.modules if name in {big}])
    AdamW([{{"params": [weight]}}], lr=0.1).step()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_turned_as_one_complex_product_are_the_bytes_of_four_real_ones(dtype: Any) -> None:
    from lorakit.embedded.models.flux import rotation_of
    from lorakit.embedded.models.fused import rotated

    rotation = rotation_of(torch.randint(0, 64, (24, 3)), (4, 6, 6))
    x = torch.randn(2, 3, 24, 16).to(dtype).requires_grad_()
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.unbind(-1)
    by_hand = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(dtype)
    weight = torch.randn(2, 3, 24, 16)
    wanted = torch.autograd.grad((by_hand * weight).sum(), x)[0]
    ours = rotated(x, rotation)
    assert torch.equal(ours, by_hand)
    assert torch.equal(torch.autograd.grad((ours * weight).sum(), x)[0], wanted)
