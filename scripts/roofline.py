"""Roofline model: how close a training step comes to the limits of this machine, operator by operator.

    python scripts/roofline.py FOLDER                                the workloads W1 to W4 of docs/performance.md
    python scripts/roofline.py FOLDER "profile=mpa model=mpa_fine"   others, each in quotes
    python scripts/roofline.py --operators FOLDER ...                with the operators that take most of the bound

The bound of a step is the sum over its operators of max(operations / peak, bytes / bandwidth). Peak is the fastest
matrix product and bandwidth the fastest copy that this process measures between the steps; bytes are those of an
operator's inputs and outputs. The share is the bound over the measured time: one thread, CPU time, so that other load
on the machine matters little. Operators that work in the cache can be faster than the copy, and a compiled step, which
fuses operators, can beat the bound. Data are a few thousand simulated rows in FOLDER.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mtlbench.cli.compose import compose
from scripts.measure_speeds import SMALL, prepared_step

ROUNDS = 7
SIZES = (
    "dataset=aliccp optimizer=lazy_adam trainer.batch_size=1024 model.embedding_width=32 "
    "model.tower_layers=[64] model.dropout=0"
)
EXPERT = "[256,128,64]"
WORKLOADS = {
    "W1: MMoE, 8 experts": f"{SIZES} model=mmoe model.experts=8 model.expert_layers={EXPERT}",
    "W2: DEPHN, attention, field and cross experts": f"{SIZES} model=dephn model.expert_layers={EXPERT}",
    "W3: PLE, two levels": f"{SIZES} model=ple model.level_layers=[[256],[128,64]]",
    "W4: MSSM": f"{SIZES} model=mssm model.subnetwork_layers={EXPERT}",
}


@dataclass
class Bound(TorchDispatchMode):
    """Counts floating-point operations and bytes of each operator that runs within it."""

    peak: float
    bandwidth: float
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            count = flop_registry.get(func.overloadpacket)
            operations = count(*args, **kwargs, out_val=out) if count else 0
            moved = sum(_bytes(each) for each in tree_leaves((args, kwargs, out)) if isinstance(each, Tensor))
            self.seconds[func.overloadpacket.__name__] += max(operations / self.peak, moved / self.bandwidth)
        return out


def _bytes(tensor: Tensor) -> int:
    """Bytes that an operator touches; of an expanded tensor those stored, of a sparse one its values and indices."""
    if tensor.is_sparse:
        return tensor._values().nbytes + tensor._indices().nbytes
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())


def main() -> None:
    words = sys.argv[1:]
    operators = "--operators" in words
    folder, *chosen = [word for word in words if word != "--operators"]
    torch.set_num_threads(1)
    named = {text: text for text in chosen} or WORKLOADS
    print("| step | ms | bound, ms | share |\n|---|---:|---:|---:|")
    for name, text in named.items():
        took, bound = measured(text.split(), folder)
        total = sum(bound.values())
        print(f"| {name} | {1e3 * took:.1f} | {1e3 * total:.1f} | {total / took:.0%} |", flush=True)
        for operator, seconds in sorted(bound.items(), key=lambda each: -each[1])[:12] if operators else ():
            print(f"|   {operator} | | {1e3 * seconds:.1f} | |")


def measured(words: list[str], folder: str) -> tuple[float, dict[str, float]]:
    """Seconds of a step, and of its bound by operator."""
    step, batch_of = prepared_step(compose([*words, *SMALL, f"run.data={folder}"]))
    size, long = 1024, torch.ones(2**25)
    a, target = torch.randn(size, size), torch.empty(2**25)
    step(batch_of(), compare=False)
    steps, products, copies = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        batch = batch_of()
        steps.append(seconds_of(lambda batch=batch: step(batch, compare=False)))
        products.append(seconds_of(lambda: a @ a))
        copies.append(seconds_of(lambda: target.copy_(long)))
    bound = Bound(peak=2 * size**3 / min(products), bandwidth=2 * long.nbytes / min(copies))
    with bound:
        step(batch_of(), compare=False)
    return median(steps), bound.seconds


def seconds_of(action: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    action()
    return time.process_time() - began


if __name__ == "__main__":
    main()
