"""Data-parallel training on several processes (ranks). Every floor may know it; it knows none of them.

``torchrun`` starts the processes, `torch.distributed` connects them (gloo on CPUs, nccl between GPUs). Each rank holds
the whole model, or rows of its embedding tables and all else (`mtlbench.distributed.sharded`), and takes a slice of
every batch; what is a sum over the rows of a batch is summed over ranks, so that the numbers are those of one process.
With one process, every function here does nothing.
"""
