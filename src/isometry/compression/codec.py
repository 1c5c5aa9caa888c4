"""What every way of storing a vector table in few bytes has in common."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.core.writing import atomic_file

AnyCodec = TypeVar("AnyCodec", bound="Codec")

# At the start, entries of all tables have this standard deviation, however they are put together.
DEVIATION = 0.05


class TrainedTable(nn.Module, ABC):
    """Something that gives a vector for an id and can be trained.

    What only searches how to store the vectors is this and no more; what is served after training
    is a `FreezableTable`, and what takes few bytes all along is a `Codec`.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
    """

    def __init__(self, n: int, dim: int) -> None:
        super().__init__()
        self.n = n
        self.dim = dim

    @abstractmethod
    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The vectors of ids."""

    def penalty(self) -> Float[Tensor, ""]:
        """What is added to the loss, for the batch that was looked up last."""
        return torch.zeros(())

    @property
    def training_bytes(self) -> int:
        """The bytes of all weights and buffers, without gradients and what an optimiser keeps."""
        return _bytes_of(dict(self.state_dict()))


class FreezableTable(TrainedTable):
    """A table that is served, as it is or in fewer bytes than it was trained in."""

    @abstractmethod
    def freeze(self) -> Codec:
        """What is served."""


class SearchingTable(TrainedTable):
    """A table that also learns how its vectors are to be stored, from a part of every batch.

    Attributes:
        held_share: The share of a batch that `search` gets, and the table's own weights do not.
    """

    held_share: ClassVar[float] = 0.25

    @abstractmethod
    def search(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The same vectors, whose gradient reaches only what says how they are to be stored."""


class Codec(FreezableTable):
    """A vector table in few bytes, as it is saved and as it is served.

    Everything that a lookup needs is a tensor of the module: they are what is saved, and their
    bytes are what it costs. A codec that has parameters can be trained; one that has none is made
    from a table that is.
    """

    @property
    def unbounded(self) -> bool:
        """Whether ids from `n` on have vectors, too."""
        return False

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor: few numbers, whatever the table's size."""

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int) -> Codec:
        """Stores a table that is given, as well as so many bytes allow.

        Raises:
            InputError: When the codec cannot hold a table that is given, the budget is below what
                it takes at the least, or a number is not finite.
        """
        raise InputError(
            f"{cls.__name__} cannot hold a table that is given: its rows share their numbers.",
            "Train with it from the start, or take IntegerTable, ProductTable or LowRank.",
        )

    def freeze(self) -> Codec:
        """Itself."""
        return self

    @property
    def method(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def trainable(self) -> bool:
        """Whether it has weights."""
        return any(True for _ in self.parameters())

    @property
    def nbytes(self) -> int:
        """The bytes of everything that a lookup needs: those of the saved file, less its header."""
        return _bytes_of(dict(self.state_dict()))

    @torch.no_grad()
    def lookup(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The vectors of ids, as a server reads them.

        Raises:
            InputError: When an id is negative, or not below `n` and the codec has no others.
        """
        check_ids(ids, None if self.unbounded else self.n)
        with as_served(self):
            return self(ids)

    def save(self, path: Path) -> None:
        """Writes the tensors to a safetensors file, and the settings to its header."""
        from safetensors.torch import save_file

        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        header = {"codec": type(self).__name__, "settings": json.dumps(self.settings)}
        with atomic_file(path) as temporary:
            save_file(tensors, temporary, metadata=header)

    @classmethod
    def load(cls: type[AnyCodec], path: Path) -> AnyCodec:
        """Reads what `save` wrote.

        Raises:
            InputError: When the file is no codec, or another one.
        """
        settings, tensors = read_codec(path, cls.__name__)
        try:
            codec = cls(**settings)
            restore(codec, tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise damaged(path) from error
        return codec


class FloatTable(Codec):
    """A table whose numbers are kept: in float32 to be trained, or in half the bytes.

    Args:
        n: How many ids there are.
        dim: The length of a vector.
        precision: Of the numbers. In float16 it is not trained: small steps would be rounded away.
    """

    rows: Tensor

    def __init__(
        self, n: int, dim: int, precision: Literal["float32", "float16"] = "float32"
    ) -> None:
        super().__init__(n, dim)
        self.precision: Literal["float32", "float16"] = precision
        if precision == "float32":
            self.rows = normal(n, dim)
        else:
            self.register_buffer("rows", torch.zeros(n, dim, dtype=torch.float16))

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec`."""
        return {"n": self.n, "dim": self.dim, "precision": self.precision}

    @classmethod
    def fit(cls, table: Float[Tensor, "n dim"], budget: int) -> FloatTable:
        """In float32 if the budget allows it, and otherwise in float16.

        Raises:
            InputError: When the budget is below that, or a number beyond float16.
        """
        table = checked_table(table)
        n, dim = table.shape
        if budget < 2 * n * dim:
            raise below_floor(cls.__name__, budget, 2 * n * dim, n, dim)
        codec = cls(n, dim, "float32" if budget >= 4 * n * dim else "float16")
        if codec.precision == "float16" and table.abs().max() > torch.finfo(torch.float16).max:
            raise InputError(
                "The table holds numbers that float16 does not reach.",
                "Scale it, or allow four bytes for each number.",
            )
        with torch.no_grad():
            codec.rows.copy_(table)
        return codec

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The rows."""
        return functional.embedding(ids, self.rows).float()


def restore(codec: Codec, tensors: dict[str, Tensor]) -> None:
    """Copies tensors of a file into a codec.

    Raises:
        ValueError: When they are not those that the codec has.
    """
    own = codec.state_dict()
    if own.keys() != tensors.keys():
        raise ValueError("the tensors have other names")
    for name, tensor in own.items():
        stored = tensors[name]
        # A codec that was halved is one still.
        halved = tensor.is_floating_point() and stored.is_floating_point()
        if tensor.shape != stored.shape or not (halved or tensor.dtype == stored.dtype):
            raise ValueError(f"{name} has another shape or type")
        tensor.copy_(stored)


@contextmanager
def as_served(table: nn.Module) -> Generator[None]:
    """Inside, no part of a table is in training; afterwards each is as it was."""
    modes = {part: part.training for part in table.modules()}
    table.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def lookup_milliseconds(codec: Codec, ids: Int[Tensor, "*b"]) -> float:
    """How long the fastest of five lookups takes, which depends on the machine."""
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        codec.lookup(ids)
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of a step: a training that is taken up draws what it would have drawn."""
    # Of a seed, torch takes 32 bits.
    return torch.Generator().manual_seed((1_000_003 * seed + step) % 2**32)


def normal(*shape: int, deviation: float = DEVIATION) -> nn.Parameter:
    """Weights from a normal distribution."""
    return nn.Parameter(deviation * torch.randn(*shape))


def check_ids(ids: Tensor, n: int | None) -> None:
    """Raises InputError for ids that have no vector."""
    if not ids.numel():
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0:
        raise InputError(f"There is no id {low}.", "Ids start at 0.")
    if n is not None and high >= n:
        raise InputError(
            f"There is no id {high}: the table has the ids from 0 to {n - 1}.",
            "Make a larger table, or take DeepHash, which has a vector for every id.",
        )


def checked_table(table: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
    """A table to be stored, in float32 and main memory, without its gradient.

    Raises:
        InputError: When it cannot be stored.
    """
    if table.ndim != 2 or not table.numel():
        raise InputError(f"A table has rows and columns, not the shape {tuple(table.shape)}.")
    if not torch.isfinite(table).all():
        raise InputError(
            "The table holds numbers that are not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    return table.detach().to("cpu", torch.float32)


def below_floor(name: str, budget: int, floor: int, n: int, dim: int, *others: int) -> InputError:
    """What is wrong with a budget that a codec cannot keep.

    Args:
        name: Of the codec.
        budget: In bytes.
        floor: The bytes that it takes at the least.
        n: How many ids the table has.
        dim: The length of a vector.
        others: All other sizes that it has, in bytes, where these are few.
    """
    rates = [f"{size / (4 * n * dim):.4f}" for size in (floor, *others)]
    here = f"Its rates here are {' and '.join(rates)}" if others else "Its smallest rate here is "
    return InputError(
        f"{name} takes {floor:,} bytes at the least for this table, and the budget is {budget:,}.",
        f"{here if others else here + rates[0]} of float32.",
    )


def read_codec(path: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and tensors of a saved codec.

    Raises:
        InputError: When the file is no codec, or another one than `name`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        found, settings = header["codec"], json.loads(header["settings"])
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise damaged(path) from error
    if found != name:
        raise InputError(f"{path} holds a {found}, not a {name}.", f"Load it with {found}.load.")
    return settings, tensors


def damaged(path: Path) -> InputError:
    """What is wrong with a file that `Codec.save` did not write."""
    return InputError(f"{path} is no saved codec.", "Write it with Codec.save.")


def _bytes_of(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
