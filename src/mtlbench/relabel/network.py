"""Confidence network: a feed-forward network trained on the single label of a store."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from mtlbench.data.loader import Rows, order
from mtlbench.data.store import SPLITS, Store
from mtlbench.models.dnn import DNN
from mtlbench.train.optimizers import LazyAdam, build_optimizers

SCORED_ROWS = 1 << 14
"""Number of rows that are scored at once."""

EMBEDDING_STD = 0.01
"""Standard deviation of initial embeddings: small, so that rare values hardly affect the confidence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A perceptron on field embeddings, trained by Adam on training rows for a number of epochs, with a limit of steps.

    There is no selection on validation rows. It runs in a single thread, since sums depend on their division among
    threads: the same seed gives the same bits on machines with the same arithmetic.

    Attributes:
        embedding_width: components of a field embedding.
        layers: widths of the hidden layers.
        epochs: passes over the training rows.
        steps: maximum number of batches.
        batch_size: rows of a batch.
        lr: learning rate.
        seed: of the initial weights and the order of rows.
    """

    embedding_width: int
    layers: tuple[int, ...]
    epochs: int
    steps: int
    batch_size: int
    lr: float
    seed: int

    def confidences(self, store: Store) -> Mapping[str, np.ndarray]:
        """Logits of all rows, float32 ``[n]`` by split."""
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = DNN(
                store.schema,
                embedding_width=self.embedding_width,
                layers=self.layers,
                embedding_std=EMBEDDING_STD,
            )
            self._train(network, store.split("train"))
            return {split: _scored(network.eval(), store.split(split)) for split in SPLITS}

    def _train(self, network: DNN, rows: Rows) -> None:
        adam = partial(torch.optim.Adam, lr=self.lr)
        lazy = partial(LazyAdam, lr=self.lr)
        optimizers = build_optimizers(network, embedding=lazy, dense=adam, gate=None, sparse=True)
        for index in self._batches(len(rows)):
            batch = rows.gather(index)
            assert batch.labels is not None
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            binary_cross_entropy_with_logits(network(batch), batch.labels[:, 0]).backward()
            for optimizer in optimizers:
                optimizer.step()

    def _batches(self, rows: int) -> Iterator[torch.Tensor]:
        steps = min(self.steps, self.epochs * -(-rows // self.batch_size))
        epochs = (order(rows, self.seed, epoch).split(self.batch_size) for epoch in range(self.epochs))
        chosen = islice(chain.from_iterable(epochs), steps)
        yield from tqdm(chosen, "network of confidences", steps, disable=None, delay=2, leave=False)


@torch.no_grad()
def _scored(network: DNN, rows: Rows) -> np.ndarray:
    batches = torch.arange(len(rows)).split(SCORED_ROWS)
    return torch.cat([network(rows.gather(index)) for index in batches]).numpy()


@contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
