"""What holds of every codec."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from isometry.compression.adaptive_rows import AdaptiveRows
from isometry.compression.block_dedup import BlockDedup
from isometry.compression.codec import (
    Codec,
    FloatTable,
    as_served,
    generator_of,
    lookup_milliseconds,
)
from isometry.compression.deep_hash import DeepHash
from isometry.compression.integer_table import IntegerTable
from isometry.compression.low_rank import LowRank
from isometry.compression.mgqe import MGQE, GranularCodes
from isometry.compression.modulo_hash import ModuloHash
from isometry.compression.optembed import PrefixRows
from isometry.compression.product_table import ProductTable
from isometry.compression.quotient_remainder import QuotientRemainder
from isometry.compression.robe import RobeArray
from isometry.compression.sparse_rows import SparseRows
from isometry.compression.tensor_train import TensorTrain
from isometry.core.errors import InputError

N, DIM = 700, 16
BUDGET = 4 * N * DIM // 3
TABLE = torch.from_numpy(np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32))
COUNTS = torch.arange(N).flip(0)
FROM_A_TABLE: dict[str, Callable[[], Codec]] = {
    "float": lambda: FloatTable.fit(TABLE, 4 * N * DIM),
    "half": lambda: FloatTable.fit(TABLE, 2 * N * DIM),
    "integers": lambda: IntegerTable.fit(TABLE, BUDGET),
    "low rank": lambda: LowRank.fit(TABLE, BUDGET),
    "tensor train": lambda: TensorTrain.fit(TABLE, BUDGET),
    "products": lambda: ProductTable.fit(TABLE, BUDGET, codes=16),
    "turned products": lambda: ProductTable.fit(TABLE, BUDGET, codes=16, rotated=True),
    "dedup": lambda: BlockDedup.fit(TABLE, BUDGET, block=8),
    "sparse": lambda: SparseRows.fit(TABLE, BUDGET),
}
OF_A_BUDGET: dict[str, Callable[[], Codec]] = {
    "hash": lambda: ModuloHash(N, DIM, 200),
    "quotient": lambda: QuotientRemainder(N, DIM, 5),
    "network": lambda: DeepHash.sized(N, DIM, BUDGET, hashes=8),
    "array": lambda: RobeArray.sized(N, DIM, BUDGET),
    "adaptive": lambda: AdaptiveRows.sized(COUNTS, DIM, BUDGET),
    "granular": lambda: MGQE.sized(COUNTS, DIM, 2 * BUDGET).freeze(),
    "prefixes": lambda: PrefixRows(N, DIM, 100, 5),
}
CODECS = FROM_A_TABLE | OF_A_BUDGET
MADE: dict[str, Codec] = {}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    name = request.param
    if name not in MADE:
        torch.manual_seed(0)
        MADE[name] = CODECS[name]()
    return MADE[name]


def test_the_file_without_its_header_is_what_is_counted(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    header = struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert path.stat().st_size - 8 - header == codec.nbytes
    # Nothing that grows with the table hides in the header.
    assert header < 1000 if not isinstance(codec, DeepHash) else header < 4000

    again = type(codec).load(path)
    ids = torch.arange(N).view(-1, 7)
    assert torch.equal(again.lookup(ids), codec.lookup(ids))
    assert again.nbytes == codec.nbytes
    other = LowRank if not isinstance(codec, LowRank) else SparseRows
    with pytest.raises(InputError, match=rf"a {type(codec).__name__}, not a {other.__name__}"):
        other.load(path)


def test_a_lookup_gives_a_vector_for_each_id(codec: Codec) -> None:
    ids = torch.tensor([[3, 699], [0, 3]])
    found = codec.lookup(ids)
    assert found.shape == (2, 2, DIM) and found.dtype == torch.float32
    assert torch.equal(found[0, 0], found[1, 1])
    assert torch.allclose(found[0, 1], codec.lookup(torch.tensor(699)), atol=1e-6)
    with pytest.raises(InputError, match="no id -1"):
        codec.lookup(torch.tensor([-1]))
    if not codec.unbounded:
        with pytest.raises(InputError, match="no id 700: the table has the ids from 0 to 699"):
            codec.lookup(torch.tensor([700]))


def test_what_has_weights_can_be_trained(codec: Codec) -> None:
    # A lookup changes no mode, and needs no gradient.
    codec.train()
    assert not codec.lookup(torch.tensor([1])).requires_grad and codec.training
    if codec.trainable:
        codec(torch.arange(N)).square().sum().backward()
        assert all(weight.grad is not None for weight in codec.parameters())
    else:
        assert isinstance(codec, FloatTable | IntegerTable | ProductTable) or "Granular" in repr(
            codec
        )


@pytest.mark.parametrize("name", FROM_A_TABLE)
def test_a_table_that_is_no_table_is_refused(name: str) -> None:
    kind = type(MADE.get(name) or CODECS[name]())
    broken = TABLE.clone()
    broken[3, 3] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        kind.fit(broken, 4 * N * DIM)
    with pytest.raises(InputError, match=rf"{kind.__name__} takes [\d,]+ bytes at the least"):
        kind.fit(TABLE, 3)


@pytest.mark.parametrize("parts", [0, 3, 32])
def test_vectors_that_cannot_be_cut_are_refused(parts: int) -> None:
    makes: list[Callable[[], object]] = [
        lambda: ProductTable(10, DIM, parts, codes=4),
        lambda: GranularCodes(600, DIM, parts, 60),
        lambda: MGQE(600, DIM, parts, torch.arange(600) < 60),
    ]
    for make in makes:
        with pytest.raises(InputError, match=f"of {DIM} dimensions cannot be cut into {parts} "):
            make()


def test_freezing_leaves_a_table_in_training() -> None:
    table = MGQE.sized(COUNTS, DIM, 2 * BUDGET).train()
    table.freeze()
    assert table.training and table.respond.training


@pytest.mark.parametrize("kind", [ModuloHash, QuotientRemainder, DeepHash, RobeArray, AdaptiveRows])
def test_what_shares_numbers_holds_no_table_that_is_given(kind: type[Codec]) -> None:
    with pytest.raises(InputError, match=rf"{kind.__name__} cannot hold a table that is given"):
        kind.fit(TABLE, 4 * N * DIM)


def test_a_seeds_draws_are_not_those_of_its_neighbour_one_step_later() -> None:
    drawn = {
        tuple(torch.rand(3, generator=generator_of(seed, step)).tolist())
        for seed in range(4)
        for step in range(20)
    }
    assert len(drawn) == 80


def test_half_precision_is_that_of_numpy() -> None:
    with pytest.raises(InputError, match="float16 does not reach"):
        FloatTable.fit(TABLE * 1e5, 2 * N * DIM)
    half = FloatTable.fit(TABLE, 2 * N * DIM)
    assert half.nbytes == 2 * N * DIM
    expected = TABLE.numpy().astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(half.lookup(torch.arange(N)).numpy(), expected)
    assert torch.equal(FloatTable.fit(TABLE, 4 * N * DIM).lookup(torch.arange(N)), TABLE)


def test_a_file_that_is_no_codec_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    with pytest.raises(InputError, match="There is no file"):
        FloatTable.load(path)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="no saved codec"):
        FloatTable.load(path)
    codec = ModuloHash(N, DIM, 3)
    codec.save(path)
    path.write_bytes(path.read_bytes().replace(b'\\"rows\\": 3', b'\\"rows\\": 4'))
    with pytest.raises(InputError, match="no saved codec"):
        ModuloHash.load(path)


@pytest.mark.parametrize("name", FROM_A_TABLE)
def test_a_table_is_stored_whatever_its_precision_and_with_or_without_a_gradient(name: str) -> None:
    store = CODECS[name]() if name not in MADE else MADE[name]
    kind, ids = type(store), torch.arange(N)
    half = TABLE.bfloat16()
    options = {"codes": 16} if isinstance(store, ProductTable) else {}
    budget = 4 * N * DIM if name == "float" else BUDGET if name != "half" else 2 * N * DIM
    found = kind.fit(half, budget, **options)
    assert torch.equal(found.lookup(ids), kind.fit(half.float(), budget, **options).lookup(ids))
    own = kind.fit(torch.nn.Parameter(TABLE.clone()), budget, **options)
    assert torch.equal(own.lookup(ids), kind.fit(TABLE, budget, **options).lookup(ids))
    assert torch.equal(copy.deepcopy(own).lookup(ids), own.lookup(ids))


def test_a_codec_that_was_halved_is_read_again(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    half = copy.deepcopy(codec).half()
    half.save(path)
    again = type(codec).load(path)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, half.state_dict()[name].to(tensor.dtype)), name


def test_ids_may_have_four_bytes(codec: Codec) -> None:
    ids = torch.arange(N)
    assert torch.equal(codec.lookup(ids.int()), codec.lookup(ids))


def test_a_lookup_leaves_each_part_in_its_own_mode() -> None:
    network = DeepHash.sized(N, DIM, BUDGET, hashes=8).train()
    still = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    for part in still:
        part.eval()
    before = {part: part.training for part in network.modules()}
    network.lookup(torch.arange(9))
    with pytest.raises(InputError):
        network.lookup(torch.tensor([-1]))
    assert still and {part: part.training for part in network.modules()} == before
    with pytest.raises(ZeroDivisionError), as_served(network):
        assert not any(part.training for part in network.modules())
        raise ZeroDivisionError
    assert {part: part.training for part in network.modules()} == before


def test_only_what_is_halved_must_be_within_half_precision() -> None:
    with pytest.raises(InputError, match="float16 does not reach"):
        FloatTable.fit(-TABLE.abs() * 1e5, 2 * N * DIM)
    whole = FloatTable.fit(TABLE * 1e5, 4 * N * DIM)
    assert torch.equal(whole.lookup(torch.arange(N)), TABLE * 1e5)


def test_a_table_without_a_row_is_refused() -> None:
    with pytest.raises(InputError, match=r"not the shape \(0, 16\)"):
        FloatTable.fit(torch.zeros(0, DIM), 100)


@pytest.mark.parametrize("change", ["more", "type"])
def test_a_file_with_other_tensors_is_refused(tmp_path: Path, change: str) -> None:
    from safetensors.torch import save_file

    path, codec = tmp_path / "codec.safetensors", ModuloHash(N, DIM, 3)
    tensors = {name: tensor.contiguous() for name, tensor in codec.state_dict().items()}
    if change == "more":
        tensors["ghost"] = torch.zeros(2)
    else:
        tensors = {name: tensor.to(torch.int32) for name, tensor in tensors.items()}
    header = {"codec": "ModuloHash", "settings": json.dumps(codec.settings)}
    save_file(tensors, path, metadata=header)
    with pytest.raises(InputError, match="no saved codec"):
        ModuloHash.load(path)


def test_the_fastest_lookup_counts_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0, 3.0, 5.0, 5.0, 9.0, 9.0, 10.0, 10.0, 14.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert lookup_milliseconds(ModuloHash(N, DIM, 3), torch.arange(3)) == 1000
