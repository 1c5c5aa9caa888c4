from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from isometry.compression.codec import Codec, FloatTable
from isometry.compression.compressed_embedding import CompressedEmbedding, compress_fields
from isometry.compression.deep_hash import DeepHash
from isometry.compression.integer_table import IntegerTable
from isometry.compression.low_rank import LowRank
from isometry.compression.mixed_dimension import mixed_dimension
from isometry.compression.modulo_hash import ModuloHash
from isometry.compression.quotient_remainder import QuotientRemainder
from isometry.compression.tensor_train import TensorTrain
from isometry.core.errors import InputError

FIELDS = (50, 3, 400)
IDS = torch.tensor([[0, 50, 53], [49, 52, 452], [7, 51, 60]])


@pytest.fixture
def embedding() -> CompressedEmbedding:
    return CompressedEmbedding([LowRank(50, 8, 2), FloatTable(3, 8), ModuloHash(400, 8, 40)])


def test_each_id_is_read_from_its_field(embedding: CompressedEmbedding) -> None:
    starts = (0, 50, 53)
    found = embedding(IDS)
    for column, (start, part) in enumerate(zip(starts, embedding.parts, strict=True)):
        assert torch.allclose(found[:, column], part(IDS[:, column] - start))
    # In any order, and with fields missing.
    mixed = torch.tensor([452, 1, 53, 1])
    expected = torch.stack([embedding(one) for one in mixed])
    assert torch.allclose(embedding(mixed), expected)
    assert embedding(torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 3, 8)


def test_it_is_called_as_torchs_own(embedding: CompressedEmbedding) -> None:
    whole = CompressedEmbedding([FloatTable(n, 8) for n in FIELDS])
    rows = torch.cat([part.rows for part in whole.parts]).detach()
    own = nn.Embedding.from_pretrained(rows.clone(), freeze=False)
    assert (whole.num_embeddings, whole.embedding_dim) == (own.num_embeddings, own.embedding_dim)
    assert torch.equal(whole(IDS), own(IDS))
    for one in (whole, own):
        (one(IDS) ** 3).sum().backward()
    gradient = torch.cat([part.rows.grad for part in whole.parts])
    assert torch.allclose(gradient, own.weight.grad)
    assert whole.nbytes == rows.numel() * 4


def test_ids_beyond_all_fields_are_refused(embedding: CompressedEmbedding) -> None:
    with pytest.raises(InputError, match="no id 453"):
        embedding(torch.tensor([453]))
    with pytest.raises(InputError, match="no id -1"):
        embedding(torch.tensor([-1]))
    network = CompressedEmbedding([DeepHash(10, 8, 4, hashes=4)])
    assert network.lookup(torch.tensor([10**9])).shape == (1, 8)


@pytest.mark.parametrize("part", [ModuloHash(10, 4, 3), QuotientRemainder(10, 4, 3)])
def test_one_part_has_no_ids_beyond_its_own_either(part: Codec) -> None:
    single = CompressedEmbedding([part])
    assert single(torch.arange(10)).shape == (10, 4)
    for bad in (-1, 10, 453):
        with pytest.raises(InputError, match=f"no id {bad}"):
            single(torch.tensor([bad]))
    with pytest.raises(InputError, match="no id -1"):
        CompressedEmbedding([DeepHash(10, 4, 2, hashes=4)]).eval()(torch.tensor([-1]))


def test_a_budget_below_the_least_names_what_is_compressed() -> None:
    for kind in (ModuloHash, QuotientRemainder, TensorTrain):
        with pytest.raises(InputError, match=rf"^{kind.__name__} takes [\d,]+ bytes at the least"):
            kind.of_fields((1000, 500), 16, 100)
    with pytest.raises(InputError, match=r"^LowRank takes"):
        mixed_dimension((1000, 500), 16, 100)


def test_what_cannot_be_trained_says_so() -> None:
    frozen = IntegerTable(5, 8)
    with pytest.raises(InputError, match="IntegerTable cannot be trained"):
        CompressedEmbedding([frozen])
    assert not CompressedEmbedding([frozen], frozen=True).trainable
    assert CompressedEmbedding([frozen, FloatTable(1, 8)]).trainable
    with pytest.raises(ValueError, match="one length"):
        CompressedEmbedding([FloatTable(2, 8), FloatTable(2, 9)])


def test_it_is_saved_with_its_parts(embedding: CompressedEmbedding, tmp_path: Path) -> None:
    embedding.save(tmp_path / "file")
    again = CompressedEmbedding.load(tmp_path / "file", LowRank, ModuloHash)
    assert torch.equal(again(IDS), embedding(IDS))
    assert again.nbytes == embedding.nbytes == 4 * (50 * 2 + 2 * 8 + 3 * 8 + 40 * 8)
    file = (tmp_path / "file").read_bytes()
    assert len(file) - 8 - int.from_bytes(file[:8], "little") == embedding.nbytes
    with pytest.raises(InputError, match="a part of the kind ModuloHash"):
        CompressedEmbedding.load(tmp_path / "file", LowRank)


def test_a_field_is_compressed_only_if_that_makes_it_smaller() -> None:
    def make(n: int, knob: int) -> Codec:
        return QuotientRemainder(n, 8, knob)

    # A sixth of 453 rows.
    budget = 453 * 8 * 4 // 6
    plan = compress_fields(FIELDS, 8, make, range(20, 0, -1), budget)
    kinds = [type(part) for part in plan.parts]
    assert kinds == [QuotientRemainder, FloatTable, QuotientRemainder]
    assert plan.nbytes <= budget
    knob = plan.parts[0].k
    assert knob == plan.parts[2].k
    smaller = [QuotientRemainder(n, 8, knob - 1).nbytes for n in (50, 400)]
    assert sum(smaller) + 3 * 8 * 4 > budget
    with pytest.raises(InputError, match="at the least"):
        compress_fields(FIELDS, 8, make, range(20, 0, -1), 1000)


def test_a_file_with_other_settings_is_refused(
    embedding: CompressedEmbedding, tmp_path: Path
) -> None:
    path = tmp_path / "table.safetensors"
    embedding.save(path)
    kinds = (LowRank, ModuloHash)
    whole = path.read_bytes()
    for old, new in ((b"parts", b"party"), (b'\\"rows\\": 40', b'\\"rows\\": 41')):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(InputError, match="no saved codec"):
            CompressedEmbedding.load(path, *kinds)
    embedding.half().save(path)
    assert CompressedEmbedding.load(path, *kinds).lookup(IDS).dtype == torch.float32
