"""Which training digits are nearest in what the last layer sees (11_explanation.ipynb)."""

import torch
from torch import Tensor

BATCH = 500


def nearest(embedded: Tensor, known: Tensor, count: int = 5) -> tuple[Tensor, Tensor]:
    """The `count` nearest of the known embeddings, by the distance in a straight line.

    Args:
        embedded: float32 `[N, D]`, from `embeddings`. known: `[M, D]`, M at least `count`.

    Returns:
        Distances, float32 `[N, count]`, rising, and positions in `known`, int64.

    Raises:
        ValueError: there are fewer than `count` of them.
    """
    if len(known) < count:
        raise ValueError(f"{count} nearest of {len(known)}: ask for fewer")
    found = [torch.cdist(part, known).topk(count, largest=False) for part in embedded.split(BATCH)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
