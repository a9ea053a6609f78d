"""Data-parallel training on several processes (ranks). All other packages may import it; it imports none of them.

``torchrun`` starts the processes, `torch.distributed` connects them (gloo on CPUs, nccl between GPUs). Each rank holds
the whole model, or a shard of its embedding tables and everything else (`mtlbench.distributed.sharded`), and trains on
a slice of every batch. Sums over the rows of a batch are summed over ranks, so that results equal those of one process.
In a single process, every function here does nothing.
"""
