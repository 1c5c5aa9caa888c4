from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.encoders.packaged_models import packaged_folder
from isometry.objectives.angle import CoSENT
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.knowledge_distillation import KnowledgeDistillation
from isometry.objectives.matryoshka import (
    ESE,
    MRL,
    Cut,
    Diagonal,
    Matryoshka,
    Plan,
    Random2D,
    Reduction,
    principal_target,
)


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B, NEGATIVES = vectors(1, 5, 16), vectors(1, 5, 16, seed=1), vectors(1, 5, 2, 16, seed=2)
SAME = torch.zeros(5, 15, dtype=torch.bool)
SAME[0, 3] = SAME[2, 9] = True
LOG_Q = vectors(15, seed=3)
# Of three layers.
DEEP = (vectors(3, 5, 16), vectors(3, 5, 16, seed=1), vectors(3, 5, 2, 16, seed=2))
BASE = InfoNCE().double()


@dataclass(frozen=True)
class Cuts:
    """A plan of given prefixes."""

    reduction: ClassVar[Reduction] = "mean"

    given: tuple[Cut, ...]

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        return self.given


@dataclass(frozen=True)
class Sum(Cuts):
    """The same, added up."""

    reduction: ClassVar[Reduction] = "sum"


def on(layer: int, dim: int, parts: tuple[Tensor, Tensor, Tensor] = DEEP) -> Tensor:
    """The base on one prefix."""
    a, b, negatives = (part[layer, ..., :dim] for part in parts)
    return BASE(a, b, negatives)


def texts(layer: int, parts: tuple[Tensor, Tensor, Tensor] = DEEP) -> Tensor:
    """All vectors of a layer."""
    return torch.cat([part[layer].reshape(-1, part.shape[-1]) for part in parts])


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)), the mean of the rows, in its plainest form."""
    p, q = teacher.softmax(-1), student.softmax(-1)
    return (p * (p / q).log()).sum() / len(p)


@pytest.mark.parametrize("weights", [None, (7.0,)])
def test_one_full_prefix_is_the_base(weights: tuple[float, ...] | None) -> None:
    base = InfoNCE().double()
    loss = Matryoshka(base, MRL((16,), weights))(A, B, NEGATIVES, SAME, LOG_Q)
    torch.testing.assert_close(
        loss, base(A[0], B[0], NEGATIVES[0], SAME, LOG_Q), rtol=0, atol=1e-12
    )
    assert not torch.allclose(loss, base(A[0], B[0], NEGATIVES[0]))


def test_vectors_are_cut_before_they_are_normalised() -> None:
    base = InfoNCE().double()
    loss = Matryoshka(base, MRL((4,)))(A, B, NEGATIVES)
    cut = base(A[0, :, :4], B[0, :, :4], NEGATIVES[0, ..., :4])
    torch.testing.assert_close(loss, cut)
    # What lies beyond the prefix has no say, not even through the length of the whole vector.
    scaled = [part.clone() for part in (A, B, NEGATIVES)]
    for part in scaled:
        part[..., 4:] *= 100
    torch.testing.assert_close(Matryoshka(base, MRL((4,)))(*scaled), loss)


def test_prefixes_are_averaged_by_weight() -> None:
    base = InfoNCE().double()
    parts = [base(A[0, :, :dim], B[0, :, :dim]) for dim in (16, 8, 2)]
    equal = Matryoshka(base, MRL((16, 8, 2)))(A, B)
    torch.testing.assert_close(equal, torch.stack(parts).mean())
    weighted = Matryoshka(base, MRL((16, 8, 2), (1.0, 0.5, 2.5)))(A, B)
    torch.testing.assert_close(weighted, (parts[0] + 0.5 * parts[1] + 2.5 * parts[2]) / 4)


def test_dimensions_beyond_the_largest_prefix_get_no_gradient() -> None:
    parts = [part.clone().requires_grad_() for part in (A, B, NEGATIVES)]
    Matryoshka(InfoNCE().double(), MRL((4, 8)))(*parts).backward()
    for part in parts:
        assert part.grad is not None
        assert torch.equal(part.grad[..., 8:], torch.zeros_like(part.grad[..., 8:]))
        assert (part.grad[..., :8].abs().sum(dim=-1) > 0).all()


def test_a_plan_names_layers() -> None:
    base = InfoNCE().double()
    a, b, negatives = vectors(3, 5, 16), vectors(3, 5, 16, seed=1), vectors(3, 5, 2, 16, seed=2)
    plan = Cuts((Cut(0, 8), Cut(2, 16, 3.0)))
    expected = base(a[0, :, :8], b[0, :, :8], negatives[0, ..., :8])
    expected = (expected + 3 * base(a[2], b[2], negatives[2])) / 4
    torch.testing.assert_close(Matryoshka(base, plan)(a, b, negatives), expected)
    last = Matryoshka(base, MRL((16,)))(a, b, negatives)
    torch.testing.assert_close(last, base(a[2], b[2], negatives[2]))


@pytest.mark.parametrize("dims", [(), (0,), (8, -1)])
def test_dims_must_be_positive(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="dims must be positive"):
        MRL(dims)


def test_a_prefix_longer_than_the_vectors_raises() -> None:
    with pytest.raises(ValueError, match="17 dimensions out of 16"):
        Matryoshka(InfoNCE(), MRL((4, 17)))(A, B)


def test_every_width_needs_its_weight() -> None:
    with pytest.raises(ValueError, match="length"):
        MRL((4, 8), (1.0,))


def test_a_learned_temperature_of_the_base_is_trained() -> None:
    loss = Matryoshka(InfoNCE(learn=True), MRL((4, 8)))
    loss(A, B).backward()
    (temperature,) = loss.parameters()
    assert temperature.grad is not None and float(temperature.grad) != 0


def test_the_mean_is_bit_for_bit_what_it_always_was() -> None:
    dims, weights = (16, 8, 2), (1.0, 0.3, 0.7)
    base = InfoNCE()
    a, b = A.float(), B.float()
    terms = [
        weight * base(a[0, :, :dim], b[0, :, :dim], None, SAME[:, :5])
        for dim, weight in zip(dims, weights, strict=True)
    ]
    expected = torch.stack(terms).sum() / sum(weights)
    assert torch.equal(Matryoshka(base, MRL(dims, weights))(a, b, None, SAME[:, :5]), expected)


def test_a_plan_says_whether_its_terms_are_added() -> None:
    cuts = (Cut(0, 8, 0.5), Cut(-1, 16, 1.5, distil=1.0), Cut(1, 4, distil=2.0))
    expected = 0.5 * on(0, 8) + 1.5 * on(2, 16) + on(1, 4)
    expected = expected + 2 * divergence(texts(2)[:, :4], texts(1)[:, :4])
    added = Matryoshka(BASE, Sum(cuts))(*DEEP)
    torch.testing.assert_close(added, expected)
    torch.testing.assert_close(Matryoshka(BASE, Cuts(cuts))(*DEEP), expected / 3)


def test_plans_are_plans() -> None:
    plans = MRL((4,)), Random2D(3, (4,)), Diagonal(((1, 4), (3, 16))), ESE(4)
    assert all(isinstance(plan, Plan) for plan in plans)
    assert [plan.reduction for plan in plans] == ["mean", "sum", "sum", "sum"]


def test_2dmse_is_the_sum_of_five_terms() -> None:
    plan = Random2D(3, (8,))
    inner = plan.draw(0)[0] - 1
    five = [
        on(2, 16),
        on(2, 8),
        on(inner, 16),
        on(inner, 8),
        divergence(texts(2), texts(inner)),
    ]
    torch.testing.assert_close(Matryoshka(BASE, plan)(*DEEP), sum(five))
    half = Random2D(3, (8,), distil=0.5)
    torch.testing.assert_close(Matryoshka(BASE, half)(*DEEP), sum(five) - 0.5 * five[4])
    without = Random2D(3, (8,), distil=0.0)
    torch.testing.assert_close(Matryoshka(BASE, without)(*DEEP), sum(five[:4]))


def test_2dmse_draws_every_inner_layer_and_every_width_alike() -> None:
    plan = Random2D(6, (8, 16, 32, 64), seed=1)
    drawn = Counter(plan.draw(step) for step in range(2000))
    # 20 combinations, 100 expected of each; the last layer, 6, is never the inner one.
    assert set(drawn) == {(layer, dim) for layer in range(1, 6) for dim in (8, 16, 32, 64)}
    assert all(60 < count < 145 for count in drawn.values())


def test_2dmse_trains_what_it_draws() -> None:
    plan = Random2D(6, (8, 16, 32, 64), seed=1)
    for step in range(20):
        layer, dim = plan.draw(step)
        index = layer - 1
        expected = [Cut(-1, 384), Cut(-1, dim), Cut(index, 384, distil=1.0), Cut(index, dim)]
        assert plan.cuts(6, 384) == expected


def test_a_draw_depends_on_seed_and_step_only() -> None:
    def draws(seed: int, steps: Sequence[int]) -> list[tuple[int, int]]:
        torch.manual_seed(len(steps))
        plan = Random2D(6, (8, 16), seed=seed)
        return [plan.draw(step) for step in steps]

    forth = draws(3, range(30))
    assert forth == draws(3, range(29, -1, -1))[::-1]
    assert forth != draws(4, range(30))
    # A seed's draws are not those of its neighbour, one step later.
    assert forth[1:] != draws(4, range(29))


def test_a_resumed_training_draws_what_an_uninterrupted_one_draws() -> None:
    def objective() -> Matryoshka:
        return Matryoshka(InfoNCE(learn=True).double(), Random2D(3, (2, 4, 8), seed=5))

    whole = objective()
    losses = [float(whole(*DEEP).detach()) for _ in range(12)]
    assert len(set(losses)) > 3
    assert losses[:5] != losses[7:]
    first = objective()
    assert [float(first(*DEEP).detach()) for _ in range(7)] == losses[:7]
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    resumed = objective()
    resumed.load_state_dict(saved)
    assert [float(resumed(*DEEP).detach()) for _ in range(5)] == losses[7:]


def test_evaluation_does_not_count_as_a_step() -> None:
    plan = Random2D(3, (2, 4, 8), seed=5)
    objective = Matryoshka(BASE, plan).eval()
    assert len({float(objective(*DEEP)) for _ in range(8)}) == 1
    assert int(plan.step) == 0
    objective.train()(*DEEP)
    assert int(plan.step) == 1


def test_a_plan_without_draws_leaves_checkpoints_as_they_were() -> None:
    objective = Matryoshka(InfoNCE(), MRL((4,)))
    assert list(objective.state_dict()) == ["base.log_temperature"]


def test_starbucks_is_the_sum_over_its_sizes() -> None:
    plan = Diagonal(((1, 4), (2, 8), (3, 16)))
    expected = on(0, 4) + on(1, 8) + on(2, 16)
    for layer, dim in ((0, 4), (1, 8)):
        pulled = divergence(texts(2)[:, :dim], texts(layer)[:, :dim])
        expected = expected + 0.3 * pulled
    torch.testing.assert_close(Matryoshka(BASE, plan)(*DEEP), expected)


def test_starbucks_does_not_distil_the_full_size_from_itself() -> None:
    cuts = Diagonal(((1, 4), (3, 16)), distil=0.7).cuts(3, 16)
    assert cuts == [Cut(0, 4, distil=0.7), Cut(2, 16)]


def test_starbucks_with_the_full_size_alone_is_the_base() -> None:
    for distil in (0.0, 1.0):
        loss = Matryoshka(BASE, Diagonal(((3, 16),), distil=distil))(*DEEP)
        assert torch.equal(loss, on(2, 16))


def test_starbucks_on_scores_is_what_sums_of_products_say() -> None:
    a, b, negatives = DEEP
    documents = torch.cat([b, negatives.flatten(1, 2)], dim=1)
    # As published: element-wise products, added up over the dimensions, give the scores of all d.
    scores = torch.einsum("lnd,lmd->lnmd", a, documents).cumsum(dim=-1)
    torch.testing.assert_close(scores[1, ..., 7], a[1, :, :8] @ documents[1, :, :8].T)
    expected = on(0, 4) + on(1, 8) + on(2, 16)
    for layer, dim in ((0, 4), (1, 8)):
        student, teacher = scores[layer, ..., dim - 1], scores[2, ..., -1]
        expected = expected + divergence(teacher / 2, student / 2)
    distillation = KnowledgeDistillation(2.0, gradient_scale="1")
    plan = Diagonal(((1, 4), (2, 8), (3, 16)), distil=1.0)
    loss = Matryoshka(BASE, plan, distillation=distillation, distil_on="scores")
    torch.testing.assert_close(loss(*DEEP), expected)


def test_cosines_are_scores_of_vectors_cut_and_then_normalised() -> None:
    plan = Sum((Cut(0, 4, distil=1.0),))
    a, b, negatives = DEEP
    small = [functional.normalize(part[..., :4], dim=-1) for part in DEEP]
    full = [functional.normalize(part, dim=-1) for part in DEEP]
    student = small[0][0] @ torch.cat([small[1][0], small[2][0].flatten(0, 1)]).T
    teacher = full[0][2] @ torch.cat([full[1][2], full[2][2].flatten(0, 1)]).T
    loss = Matryoshka(BASE, plan, distil_on="cosines")(a, b, negatives)
    torch.testing.assert_close(loss, on(0, 4) + divergence(teacher, student))


@pytest.mark.parametrize("negatives", [True, False])
def test_coordinates_are_distilled_as_they_come(negatives: bool) -> None:
    plan = Sum((Cut(0, 4, weight=0.0, distil=1.0),))
    parts = DEEP if negatives else DEEP[:2]
    rows = [torch.cat([part[layer].reshape(-1, 16) for part in parts]) for layer in (0, 2)]
    loss = Matryoshka(BASE, plan)(*parts)
    torch.testing.assert_close(loss, divergence(rows[1][:, :4], rows[0][:, :4]))
    # The base has no scale, the coordinates have one.
    louder = Matryoshka(BASE, plan)(*(3 * part for part in parts))
    torch.testing.assert_close(louder, divergence(3 * rows[1][:, :4], 3 * rows[0][:, :4]))
    assert float(louder) > 2 * float(loss)


def test_the_matrix_of_ese_by_hand() -> None:
    # 2dmse, check 5.
    pooled = torch.arange(1.0, 9, dtype=torch.float64).reshape(2, 4).sin()
    a = torch.softmax(pooled.T @ pooled / 2, dim=1)
    torch.testing.assert_close(a.sum(dim=1), torch.ones(4, dtype=torch.float64))
    values = torch.tensor([1.001240, 0.448149, 0.068743, 0.012865], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.svdvals(a), values, rtol=0, atol=1e-6)
    target = principal_target(pooled, 2)
    expected = torch.tensor([[0.589448, 0.578662], [0.178003, 0.672982]], dtype=torch.float64)
    torch.testing.assert_close(target.abs(), expected, rtol=0, atol=1e-6)


def test_the_target_of_ese_keeps_the_energy_of_its_matrix() -> None:
    pooled = 0.3 * texts(1)
    full = principal_target(pooled, 16)
    a = torch.softmax(pooled.T @ pooled / 4, dim=1)
    torch.testing.assert_close(full @ full.T, pooled @ a @ a.T @ pooled.T)
    torch.testing.assert_close(principal_target(pooled, 3), full[:, :3])


def test_the_target_of_ese_has_one_sign_whoever_decomposes() -> None:
    pooled = 0.3 * texts(1)
    a = torch.softmax(pooled.T @ pooled / 4, dim=1)
    values, u = torch.linalg.eigh(a @ a.T)
    values, u = values.flip(0)[:6].sqrt(), u.flip(1)[:, :6]
    # The other way round from what is asked for, so that no library can be right by chance.
    for column in u.T:
        if column[column.abs().argmax()] > 0:
            column.neg_()
    torch.testing.assert_close(principal_target(pooled, 6), pooled @ (-u * values))


def test_the_target_of_ese_has_signs_that_stay_and_no_gradient() -> None:
    pooled = 0.3 * texts(1)
    target = principal_target(pooled.requires_grad_(), 6)
    assert not target.requires_grad
    # The matrix is the same when every vector is turned round, so its components are too.
    torch.testing.assert_close(principal_target(-pooled.detach(), 6), -target)
    nudged = principal_target(pooled.detach() * (1 + 1e-9), 6)
    torch.testing.assert_close(nudged, target, rtol=1e-4, atol=1e-5)


def test_ese_is_the_sum_as_published() -> None:
    def compressed(layer: int) -> Tensor:
        rows = texts(layer)
        target = principal_target(rows, 4)
        student = rows[:, :4]
        kl = 0.5 * divergence(target / 0.5, student / 0.5)
        return ((student - target) ** 2).mean() + kl

    distillation = KnowledgeDistillation(0.5, gradient_scale="T")
    expected = on(2, 16) + on(2, 4) + compressed(2)
    for layer, index in ((1, 0), (2, 1)):
        depth = 1 + math.log(layer)
        expected = expected + (on(index, 4) + compressed(index)) / depth / 2
    loss = Matryoshka(BASE, ESE(4), distillation=distillation)
    torch.testing.assert_close(loss(*DEEP), expected)
    weights = [cut.weight for cut in ESE(4).cuts(5, 16)]
    by_hand = [1.0, 1.0, 0.25, 0.25 / 1.693147, 0.25 / 2.098612, 0.25 / 2.386294]
    assert weights == pytest.approx(by_hand, abs=1e-6)


class Graded(nn.Module):
    """CoSENT as a contrast: positives have grade 1, own negatives 0."""

    def __init__(self) -> None:
        super().__init__()
        self.order = CoSENT()

    def forward(
        self,
        a: Float[Tensor, "n d"],
        b: Float[Tensor, "n d"],
        negatives: Float[Tensor, "n k d"],
        same: Bool[Tensor, "n m"] | None,
        log_q: Float[Tensor, " m"] | None,
    ) -> Float[Tensor, ""]:
        k = negatives.shape[1]
        grades = torch.cat([a.new_ones(len(a)), a.new_zeros(len(a) * k)])
        others = torch.cat([b, negatives.flatten(0, 1)])
        return self.order(torch.cat([a, a.repeat_interleave(k, 0)]), others, grades)


def test_another_contrast_can_be_the_base() -> None:
    base = Graded()
    loss = Matryoshka(base, Diagonal(((1, 4), (3, 16)), distil=0.0))(*DEEP)
    expected = base(*(part[0, ..., :4] for part in DEEP), None, None)
    expected = expected + base(*(part[2] for part in DEEP), None, None)
    torch.testing.assert_close(loss, expected)


class Body:
    """The packaged MiniLM's transformer, on real pairs, and what is left when layers are cut."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = packaged_folder("minilm")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModel.from_pretrained(folder).eval()
        self.inputs = [
            tokenizer(list(side), padding=True, truncation=True, max_length=10, return_tensors="pt")
            for side in zip(*pairs, strict=True)
        ]

    def pool(self, inputs: Any, states: Tensor) -> Tensor:
        mask = inputs["attention_mask"][..., None]
        return (states * mask).sum(dim=-2) / mask.sum(dim=-2)

    def stacked(self) -> list[Tensor]:
        """Vectors of all layers out of one forward pass, without the embedding output."""
        return [
            torch.stack(
                [
                    self.pool(inputs, states)
                    for states in self.model(**inputs, output_hidden_states=True).hidden_states[1:]
                ]
            )
            for inputs in self.inputs
        ]

    def cut(self, layers: int) -> list[Tensor]:
        """Vectors of a model that has only so many layers."""
        whole = self.model.encoder.layer
        self.model.encoder.layer = whole[:layers]
        try:
            with torch.no_grad():
                return [
                    self.pool(inputs, self.model(**inputs).last_hidden_state)
                    for inputs in self.inputs
                ]
        finally:
            self.model.encoder.layer = whole

    def gradients(self, loss: Tensor) -> list[float]:
        """The largest gradient in each layer."""
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        return [
            max(
                0.0 if parameter.grad is None else float(parameter.grad.abs().max())
                for parameter in layer.parameters()
            )
            for layer in self.model.encoder.layer
        ]


@pytest.fixture(scope="module")
def body(pairs: list[tuple[str, str]]) -> Body:
    return Body(pairs[:5])


def contrast(a: Tensor, b: Tensor) -> Tensor:
    """In-batch softmax at a temperature of 0.05, both ways, in its plainest form."""
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    p = torch.exp(20 * a @ b.T)
    own = p.diagonal()
    return -0.5 * ((own / p.sum(dim=1)).log() + (own / p.sum(dim=0)).log()).mean()


def test_2dmse_equals_its_terms_of_a_model_that_was_really_cut(body: Body) -> None:
    # 2dmse, check 2; a loss one hidden state too early or too late is far off.
    def plan_for(layer: int) -> Random2D:
        plans = (Random2D(6, (64,), seed=seed) for seed in range(100))
        return next(plan for plan in plans if plan.draw(0)[0] == layer)

    full, small = body.cut(6), body.cut(2)
    five = (
        contrast(*full)
        + contrast(full[0][:, :64], full[1][:, :64])
        + contrast(*small)
        + contrast(small[0][:, :64], small[1][:, :64])
        + divergence(torch.cat(full), torch.cat(small))
    )
    with torch.no_grad():
        stacked = body.stacked()
        loss = Matryoshka(InfoNCE(), plan_for(2))(*stacked)
        torch.testing.assert_close(loss, five, rtol=0, atol=1e-5)
        for layer in (1, 3):
            other = Matryoshka(InfoNCE(), plan_for(layer))(*stacked)
            assert abs(float(other - five)) > 0.01


def test_starbucks_equals_its_terms_of_models_that_were_really_cut(body: Body) -> None:
    # starbucks, check 2.
    pairs = ((1, 32), (2, 64), (3, 96), (6, 384))
    full = torch.cat(body.cut(6))
    expected = torch.zeros(())
    for layer, dim in pairs:
        a, b = body.cut(layer)
        expected = expected + contrast(a[:, :dim], b[:, :dim])
        if layer < 6:
            small = torch.cat([a, b])[:, :dim]
            expected = expected + 0.3 * divergence(full[:, :dim], small)
    with torch.no_grad():
        loss = Matryoshka(InfoNCE(), Diagonal(pairs))(*body.stacked())
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)


def test_the_smallest_size_trains_no_layer_above_it(body: Body) -> None:
    # starbucks, check 8.
    plan = Sum((Cut(1, 32),))
    gradients = body.gradients(Matryoshka(InfoNCE(), plan)(*body.stacked()))
    assert min(gradients[:2]) > 1e-4
    assert max(gradients[2:]) == 0


@pytest.mark.parametrize("detach", [True, False])
def test_distillation_reaches_the_teacher_only_when_it_is_told_to(body: Body, detach: bool) -> None:
    # 2dmse, check 3.
    plan = Sum((Cut(1, 384, weight=0.0, distil=1.0),))
    objective = Matryoshka(InfoNCE(), plan, distillation=KnowledgeDistillation(detach=detach))
    gradients = body.gradients(objective(*body.stacked()))
    assert min(gradients[:2]) > 1e-8
    if detach:
        assert max(gradients[2:]) == 0
    else:
        assert min(gradients[2:]) > 1e-8


@pytest.mark.parametrize(
    "cut", [Cut(3, 16), Cut(-4, 16), Cut(0, 17), Cut(0, 0), Cut(0, 17, distil=1.0)]
)
def test_a_prefix_that_is_not_there_raises(cut: Cut) -> None:
    with pytest.raises(ValueError, match="out of"):
        Matryoshka(BASE, Cuts((cut,)))(*DEEP)


def test_2dmse_refuses_what_it_cannot_draw_from() -> None:
    with pytest.raises(ValueError, match="two layers"):
        Random2D(1, (8,))
    with pytest.raises(ValueError, match="positive"):
        Random2D(3, ())
    with pytest.raises(ValueError, match="negative"):
        Random2D(3, (8,), seed=-1)
    with pytest.raises(ValueError, match="4 layers does not fit vectors of 3"):
        Matryoshka(BASE, Random2D(4, (8,)))(*DEEP)
    with pytest.raises(ValueError, match="16 is not below the full 16"):
        Matryoshka(BASE, Random2D(3, (8, 16)))(*DEEP)


@pytest.mark.parametrize(
    "pairs",
    [(), ((0, 4),), ((1, 0),), ((1, 4), (1, 8)), ((1, 8), (2, 8)), ((2, 4), (1, 8))],
)
def test_sizes_must_rise(pairs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="rise in both"):
        Diagonal(pairs)


def test_a_size_beyond_the_model_raises() -> None:
    with pytest.raises(ValueError, match="layer 4 out of 3"):
        Matryoshka(BASE, Diagonal(((1, 4), (4, 16))))(*DEEP)
    with (
        pytest.warns(UserWarning, match="not trained"),
        pytest.raises(ValueError, match="17 dimensions out of 16"),
    ):
        Matryoshka(BASE, Diagonal(((1, 4), (3, 17))))(*DEEP)


@pytest.mark.parametrize("last", [(2, 16), (3, 8)])
def test_sizes_without_the_full_model_are_warned_of(last: tuple[int, int]) -> None:
    with pytest.warns(UserWarning, match=r"full model \(3, 16\) is not trained"):
        Matryoshka(BASE, Diagonal(((1, 4), last)))(*DEEP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Matryoshka(BASE, Diagonal(((1, 4), (3, 16))))(*DEEP)


def test_ese_refuses_a_width_that_compresses_nothing() -> None:
    with pytest.raises(ValueError, match="positive"):
        ESE(0)
    with pytest.raises(ValueError, match="16 is not below the full 16"):
        Matryoshka(BASE, ESE(16))(*DEEP)


def test_nothing_else_is_distilled_on() -> None:
    with pytest.raises(ValueError, match="'cosine'"):
        make = Matryoshka.__init__.__wrapped__  # type: ignore[attr-defined]
        make(object.__new__(Matryoshka), nn.Identity(), MRL((4,)), distil_on="cosine")


def test_the_compression_of_ese_has_its_own_weight() -> None:
    found = [cut.compress for cut in ESE(4, compress=0.5).cuts(3, 16)]
    assert found == pytest.approx([0, 0.5, 0.25, 0.25 / (1 + math.log(2))])
