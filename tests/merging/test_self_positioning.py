from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

import pytest
import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.merging.average import average
from isometry.merging.self_positioning import (
    Learned,
    Per,
    Position,
    ProbeLoss,
    Span,
    arc,
    group_of,
    learn_weights,
    over_gains,
    self_positioning,
    usual_starts,
)
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.task_vectors import task_vectors

State = dict[str, Tensor]
NAMES = ("layer.0.w", "layer.0.b", "layer.1.w", "head")


def draw(seed: int, size: float, dtype: torch.dtype = torch.float64) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(6, 5, generator=generator, dtype=dtype) for name in NAMES}


def models_on(base: State, count: int = 3) -> list[State]:
    return [
        {**base, **{name: base[name] + part for name, part in draw(seed, 0.1).items()}}
        for seed in range(1, count + 1)
    ]


BASE: State = {**draw(0, 1.0), "frozen": torch.full((7,), 0.1, dtype=torch.float64),
               "ids": torch.arange(4)}  # fmt: skip
MODELS = models_on(BASE)


def at(shares: Sequence[float], distance: float, base: State = BASE) -> State:
    return dict(self_positioning(base, MODELS, Position(tuple(shares), distance)))


def to(target: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor], int | None], Tensor]:
    """The squared distance from a point."""
    return lambda state, _: sum(
        (((part - target[name]) ** 2).sum() for name, part in state.items()), torch.zeros(())
    )


def curved(state: Mapping[str, Tensor], _: int | None) -> Tensor:
    """Anything but a quadratic."""
    hidden = torch.tanh(state["layer.0.w"] + state["layer.0.b"]) @ state["layer.1.w"].T
    return (hidden.exp() @ state["head"]).square().mean().log()


def assert_same(ours: State, expected: Mapping[str, Tensor]) -> None:
    assert list(ours) == list(expected)
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


def test_the_ends_are_the_base_and_the_model_to_the_bit() -> None:
    one = {name: part.float() if part.is_floating_point() else part for name, part in BASE.items()}
    other = {**one, "head": one["head"] + 0.1}
    assert_same(dict(self_positioning(one, [other], Position((1.0,), 1.0))), other)
    assert_same(dict(self_positioning(one, [other], Position((1.0,), 0.0))), one)
    assert_same(at((0.2, 0.5, 0.3), 0.0), BASE)


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_equal_shares_at_distance_one_are_the_mean_to_the_bit(count: int) -> None:
    base = {name: part.float() for name, part in BASE.items() if name != "ids"}
    models = [{name: part.float() for name, part in model.items() if name != "ids"}
              for model in models_on(BASE, count)]  # fmt: skip
    span = Span(base, models)
    span.move(Position((1 / count,) * count))
    (position,) = span.positions().values()
    # Also after a softmax of what was a logarithm.
    assert position.distance == 1 and len({*position.shares}) == 1
    for own in (Position((1 / count,) * count), position):
        assert_same(dict(self_positioning(base, models, own)), dict(average(models, own.shares)))
    assert_same(
        dict(self_positioning(base, models, Position((1 / count,) * count))), dict(average(models))
    )


def test_elsewhere_it_is_task_arithmetic_and_what_nobody_changed_stays_to_the_bit() -> None:
    shares = (0.2, 0.5, 0.3)
    assert_same(at(shares, 1.3), dict(task_arithmetic(BASE, MODELS, shares, scale=1.3)))
    assert torch.equal(at(shares, 1.3)["frozen"], BASE["frozen"])


def test_a_model_and_itself_give_itself() -> None:
    for distance in (0.0, 0.7, 1.0, 2.0):
        same = dict(self_positioning(BASE, [BASE] * 2, Position((0.5, 0.5), distance)))
        assert_same(same, BASE)
    twice = dict(self_positioning(BASE, [MODELS[0]] * 2, Position((0.5, 0.5), 1.0)))
    assert_same(twice, MODELS[0])


def test_every_tensor_may_stand_elsewhere() -> None:
    ours = dict(
        self_positioning(
            BASE,
            MODELS,
            lambda name: Position((0.0, 1.0, 0.0) if name == "head" else (1.0, 0.0, 0.0)),
        )
    )
    assert torch.equal(ours["head"], MODELS[1]["head"])
    assert torch.equal(ours["layer.0.w"], MODELS[0]["layer.0.w"])


def test_models_that_do_not_match_raise() -> None:
    for models, said in (
        ([{**BASE, "more": BASE["head"]}], "more"),
        ([{**BASE, "head": BASE["frozen"]}], "shape of head"),
        ([{**BASE, "ids": torch.arange(1, 5)}, BASE], "ids"),
    ):
        with pytest.raises(ValueError, match=said):
            dict(self_positioning(BASE, models, Position((1 / len(models),) * len(models), 0.5)))
    with pytest.raises(ValueError, match="3 models and 2 weights"):
        at((0.5, 0.5), 0.5)


@pytest.mark.parametrize("per", ["model", "layer", "tensor"])
def test_the_gradient_is_that_of_finite_differences(per: Per) -> None:
    """One backward pass to the tensors, and inner products: through softmax and distance."""
    span = Span(BASE, MODELS, per)
    assert len(span.groups) == {"model": 1, "layer": 3, "tensor": 4}[per]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        span.logits.copy_(torch.randn(span.logits.shape, generator=generator))
        span.distance.copy_(0.5 + torch.rand(span.distance.shape, generator=generator))
    state = span.state()
    parts = torch.autograd.grad(curved(state, None), list(state.values()))
    slopes = span.along(dict(zip(state, parts, strict=True)))
    torch.autograd.backward(span.weights(), slopes)
    step = 1e-5
    for free in (span.logits, span.distance):
        assert free.grad is not None
        for place in range(free.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    free.view(-1)[place] += sign * step
                    values.append(float(curved(span.state(), None)))
                    free.view(-1)[place] -= sign * step
            expected = (values[0] - values[1]) / (2 * step)
            assert float(free.grad.view(-1)[place]) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_a_point_in_the_span_is_found() -> None:
    target = at((0.7, 0.05, 0.25), 1.4)
    found = learn_weights(BASE, MODELS, {"only": to(target)}, steps=300)
    position = found.position("head")
    assert position.shares == pytest.approx((0.7, 0.05, 0.25), abs=0.03)
    assert sum(position.shares) == pytest.approx(1)
    assert position.distance == pytest.approx(1.4, abs=0.03)
    assert found.loss < 0.01 * found.start_loss
    assert len(found.history) == 300 and found.disagreement == 0


def test_layers_stand_where_they_are_best_and_one_position_for_all_does_not() -> None:
    target = {**at((0.9, 0.05, 0.05), 1.2)}
    target |= {"layer.1.w": at((0.05, 0.9, 0.05), 0.6)["layer.1.w"]}
    losses = {}
    for per in ("model", "layer"):
        found = learn_weights(BASE, MODELS, {"only": to(target)}, per=per, steps=200)
        losses[per] = found.loss
    assert losses["layer"] < 0.1 * losses["model"]
    assert set(found.positions) == {"layer.0", "layer.1", ""}
    assert found.position("layer.0.b") == found.positions["layer.0"]
    assert found.position("layer.1.w").shares[1] > 0.7 > 0.3 > found.position("head").shares[1]
    # What no model changed has no position to learn.
    assert found.position("frozen").distance > 0 and found.position("layer.7.w").distance == 0


def test_permuting_the_models_permutes_their_shares_and_nothing_else() -> None:
    plain = learn_weights(BASE, MODELS, {"only": curved}, steps=12)
    for order in permutations(range(3)):
        turned = learn_weights(BASE, [MODELS[n] for n in order], {"only": curved}, steps=12)
        expected = [plain.position("head").shares[number] for number in order]
        assert turned.position("head").shares == pytest.approx(expected, rel=1e-6)
        assert turned.position("head").distance == pytest.approx(plain.position("head").distance)
        assert turned.loss == pytest.approx(plain.loss)


@pytest.mark.parametrize("learning_rate", [0.05, 5.0])
def test_it_is_never_worse_than_any_fixed_merger_that_it_may_start_from(
    learning_rate: float,
) -> None:
    """However badly the steps go: the loss is that of what is made, on the whole probe."""
    equal = (1 / 3,) * 3
    starts = [
        Position(equal),
        Position(equal, 0.9),
        Position((0.0, 1.0, 0.0)),
        Position(equal, 2.0),
    ]
    starts += [arc(task_vectors(BASE, MODELS), order) for order in permutations(range(3))]

    def loss(state: Mapping[str, Tensor], step: int | None) -> Tensor:
        # Steps see noise that leads away from where the whole probe is low.
        return curved(state, None) * (1 if step is None else -1)

    found = learn_weights(
        BASE, MODELS, {"a": loss}, starts=starts, steps=10, learning_rate=learning_rate
    )
    values = [float(curved(at(one.shares, one.distance), None)) for one in starts]
    assert found.start_loss == pytest.approx(min(values)) and found.loss <= found.start_loss
    assert found.start == starts[values.index(min(values))]
    made = dict(self_positioning(BASE, MODELS, found.position))
    assert float(curved(made, None)) == found.loss
    # Led away from the start at every step, it gives back the start itself.
    assert found.position("head") == found.start


def test_each_task_counts_the_same_and_they_may_pull_against_each_other() -> None:
    near, far = at((1.0, 0.0, 0.0), 1.0), at((0.0, 1.0, 0.0), 1.0)
    both = learn_weights(BASE, MODELS, {"a": to(near), "b": to(far)}, steps=100)
    shares = both.position("head").shares
    assert shares[0] == pytest.approx(shares[1], abs=0.02) and shares[2] < 0.1
    assert both.disagreement > 0.9
    assert both.loss == pytest.approx(
        float((to(near)(at(shares, both.position("head").distance), None)
               + to(far)(at(shares, both.position("head").distance), None)) / 2)
    )  # fmt: skip
    alike = learn_weights(BASE, MODELS, {"a": to(near), "b": to(near)}, steps=5)
    assert alike.disagreement == 0
    assert all(step.cosine == pytest.approx(1) for step in alike.history)


def test_over_gains_a_loss_is_one_at_the_base_and_none_at_the_best_model() -> None:
    target = at((0.1, 0.9, 0.0), 1.0)
    loss = to(target)
    share = over_gains(BASE, MODELS, {"a": loss})["a"]
    floating = [{name: state[name] for name in NAMES} for state in (BASE, *MODELS)]
    values = [float(share(state, None)) for state in floating]
    assert (values[0], min(values[1:])) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    assert values[2] == min(values)
    # Between them it goes as the loss itself does.
    half = at((0.0, 1.0, 0.0), 0.5)
    expected = (loss(half, None) - loss(MODELS[1], None)) / (
        loss(BASE, None) - loss(MODELS[1], None)
    )
    assert float(share({name: half[name] for name in NAMES}, 0)) == pytest.approx(float(expected))


def test_over_gains_no_task_counts_more_because_its_loss_is_large() -> None:
    near, far = to(at((1.0, 0.0, 0.0), 1.0)), to(at((0.0, 1.0, 0.0), 1.0))
    probe: dict[str, ProbeLoss] = {"a": near, "b": far}
    large = probe | {"b": lambda state, step: 50 * far(state, step) + 7}

    def learned(probe: Mapping[str, ProbeLoss]) -> Position:
        return learn_weights(BASE, MODELS, probe, steps=100).position("head")

    assert learned(large).shares[1] > 0.9
    even, same = (learned(over_gains(BASE, MODELS, each)) for each in (probe, large))
    assert even.shares == pytest.approx(same.shares) and even.distance == pytest.approx(
        same.distance
    )
    assert max(even.shares) < 0.6


def test_over_gains_without_a_gain_is_over_the_loss_of_the_base() -> None:
    here = to(BASE)
    kept: ProbeLoss = lambda state, step: 3 + here(state, step)  # noqa: E731
    share = over_gains(BASE, MODELS, {"a": kept})["a"]
    for state in (BASE, *MODELS):
        floating = {name: state[name] for name in NAMES}
        assert float(share(floating, None)) == pytest.approx(float(kept(floating, None)) / 3)


def test_a_step_tells_the_mean_loss_and_the_lowest_cosine_of_any_two_tasks() -> None:
    start = Position((1 / 3,) * 3)
    near, far = at((1.0, 0.0, 0.0), 1.0), at((0.0, 1.0, 0.0), 1.0)
    probe = {"a": to(near), "again": to(near), "c": to(far)}
    found = learn_weights(BASE, MODELS, probe, starts=[start], steps=1)
    here = at(start.shares, 1.0)
    losses = [float(loss(here, None)) for loss in probe.values()]
    one, other = (
        torch.cat([(here[name] - target[name]).reshape(-1) for name in NAMES])
        for target in (near, far)
    )
    (step,) = found.history
    assert step.loss == pytest.approx(sum(losses) / 3)
    assert step.cosine == pytest.approx(float(torch.cosine_similarity(one, other, dim=0)))
    assert step.cosine < 0 and found.disagreement == 1


def test_every_step_has_examples_of_its_own() -> None:
    seen: list[int | None] = []

    def loss(state: Mapping[str, Tensor], step: int | None) -> Tensor:
        seen.append(step)
        return curved(state, step)

    learn_weights(BASE, MODELS, {"a": loss}, starts=[Position((1 / 3,) * 3)], steps=7)
    assert [step for step in seen if step is not None] == list(range(7))


def test_the_distance_stays_in_its_bounds() -> None:
    out = at((1 / 3,) * 3, 9.0)
    found = learn_weights(BASE, MODELS, {"a": to(out)}, steps=60, learning_rate=0.3)
    assert found.position("head").distance == 2.0
    back = at((1 / 3,) * 3, -4.0)
    found = learn_weights(BASE, MODELS, {"a": to(back)}, steps=60, learning_rate=0.3)
    assert found.position("head").distance == 0.0
    for starts in ([Position((1 / 3,) * 3, 2.5)], []):
        with pytest.raises(ValueError, match="starts"):
            learn_weights(BASE, MODELS, {"a": curved}, starts=starts)
    for models, probe in (([], {"a": curved}), (MODELS, {})):
        with pytest.raises(ValueError, match="takes models, and a probe"):
            learn_weights(BASE, models, probe)


def test_nan_is_no_good_place() -> None:
    def beyond(state: Mapping[str, Tensor], _: int | None) -> Tensor:
        moved = (state["head"] - BASE["head"]).norm()
        return moved if moved < 0.25 else moved * math.nan

    starts = [Position((1 / 3,) * 3, 2.0), Position((1 / 3,) * 3, 0.2)]
    found = learn_weights(BASE, MODELS, {"a": beyond}, starts=starts, steps=4)
    assert found.start.distance == 0.2 and math.isfinite(found.loss)
    with pytest.raises(InputError, match="NaN or infinite"):
        learn_weights(BASE, MODELS, {"a": lambda state, _: state["head"].sum() * math.inf})


def test_models_that_are_the_base_have_nothing_to_learn() -> None:
    found = learn_weights(BASE, [BASE, BASE], {"a": lambda *_: torch.tensor(1.0)})
    assert found.loss == 1 and found.history == ()
    assert_same(dict(self_positioning(BASE, [BASE, BASE], found.position)), BASE)


def test_narrow_models_are_learned_on_in_float32() -> None:
    """A change of less than bfloat16's step must not be lost between the models."""
    base = {"w": torch.full((8,), 256.0, dtype=torch.bfloat16)}
    models = [{"w": base["w"] + 2}, {"w": base["w"]}]
    target = {"w": torch.full((8,), 256.6)}
    found = learn_weights(
        base, models, {"a": lambda s, _: ((s["w"].float() - target["w"]) ** 2).sum()}, steps=1
    )
    assert all(part.dtype == torch.float32 for part in Span(base, models).state().values())
    assert isinstance(found, Learned)
    # In bfloat16 the difference itself would be -255.
    far, near = ({"w": torch.tensor([value], dtype=torch.bfloat16)} for value in (256, 1.0078125))
    assert Span(far, [near]).vectors[0]["w"].item() == -254.9921875


def test_usual_starts_are_average_task_arithmetic_and_the_length_of_the_vectors() -> None:
    eye = torch.eye(4)
    vectors = task_vectors({"w": torch.zeros(4)}, [{"w": 2 * eye[number]} for number in range(4)])
    starts = usual_starts(vectors)
    assert {start.shares for start in starts} == {(0.25,) * 4}
    # Four at right angles: their mean has half of their length.
    assert [start.distance for start in starts] == pytest.approx([1.0, 1.2, 2.0])
    assert [start.distance for start in usual_starts(vectors, 1.1)] == pytest.approx([1, 1.1, 1.1])


U, V = torch.tensor([1.0, -2.0, 0.1, 3.0]), torch.tensor([2.0, 1.0, -0.3, -1.0])
W = torch.tensor([0.5, 0.3, 2.0, 1.0])


def test_the_arc_of_whole_task_vectors_lies_in_the_span() -> None:
    base = {"w": torch.tensor([0.5, -1.0, 0.25, 2.0])}
    models = [{"w": base["w"] + vector} for vector in (U, V, W)]
    middle = arc(task_vectors(base, models[:2]), (0, 1))
    ours = dict(self_positioning(base, models[:2], middle))["w"] - base["w"]
    expected = torch.tensor([2.587806, -0.862602, -0.172520, 1.725204])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    for order in permutations(range(3)):
        first, second, third = ({"w": (U, V, W)[number]} for number in order)
        folded = dict(slerp(dict(slerp(first, second, 1 / 2)), third, 1 / 3))["w"]
        position = arc(task_vectors(base, models), order)
        assert min(position.shares) >= 0 and sum(position.shares) == pytest.approx(1)
        ours = dict(self_positioning(base, models, position))["w"] - base["w"]
        torch.testing.assert_close(ours, folded, rtol=0, atol=1e-5)
    same = arc(task_vectors(base, [models[0], models[0]]), (0, 1))
    assert same.distance == pytest.approx(1) and same.shares == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.layer.3.attention.self.query.weight", "encoder.layer.3"),
        ("model.0.model.encoder.layer.11.output.LayerNorm.bias", "model.0.model.encoder.layer.11"),
        ("model.layers.30.mlp.up_proj.weight", "model.layers.30"),
        ("transformer.h.5.ln_1.weight", "transformer.h.5"),
        ("encoder.block.2.layer.0.SelfAttention.q.weight", "encoder.block.2"),
        ("embeddings.word_embeddings.weight", ""),
        ("model.2.linear.weight", ""),
    ],
)
def test_the_layer_of_a_tensor_is_read_off_its_name(name: str, layer: str) -> None:
    assert group_of(name, "layer") == layer
    assert group_of(name, "model") == "" and group_of(name, "tensor") == name


def test_the_whole_probe_is_asked_on_the_way_too() -> None:
    base = {"w": torch.zeros(4, dtype=torch.float64)}
    models = [{"w": torch.eye(4, dtype=torch.float64)[number]} for number in range(2)]
    asked: list[int | None] = []

    def loss(state: Mapping[str, Tensor], step: int | None) -> Tensor:
        asked.append(step)
        return ((state["w"] - models[0]["w"]) ** 2).sum()

    learn_weights(base, models, {"a": loss}, starts=[Position((0.5, 0.5))], steps=12)
    # At the only start, and six times behind it.
    assert asked.count(None) == 1 + 6
