"""Where a training step waits for its device: values, or shapes that depend on values, that the host must read."""

HOST_READS = {
    # Tables with sparse gradients: how many rows a batch touches is known when they have been looked at.
    "mtlbench.train.step.Step.__call__": "the backward pass of a table with sparse gradients leaves padding out",
    "mtlbench.train.step._clip": "clipping adds up the entries of a sparse gradient that belong to one row",
    "mtlbench.train.optimizers.coalesced": "LazyAdam adds up the entries of a sparse gradient that belong to one row",
    "mtlbench.nn.bf16_tables.lookup_table": "the distinct rows of a batch, of a table that is stored in bfloat16",
    "mtlbench.train.deferred_adam.DeferredAdam.prepare": "the distinct rows of a batch are brought up to date",
    "mtlbench.train.deferred_adam.DeferredAdam._catch_up": "those of them that are late are moved, and no others",
    "mtlbench.train.deferred_adam.DeferredAdam._step_rows": "coalesced too, and refused in rows that were not prepared",
    "mtlbench.train.deferred_adam.MissedSteps.append": "the decay of the row so far, a factor of the step's terms",
    # Balancing methods that look at gradients.
    "mtlbench.balancing.shared.SharedGradients.forward": (
        "backward passes as in the step itself; until it is so, whether two tasks share anything"
    ),
    "mtlbench.balancing.shared._rows": "the distinct rows that any task's sparse gradient touches",
    "mtlbench.balancing.gramian.GramianWeights.forward": "solvers work on the CPU, on a [T, T] matrix",
    "mtlbench.balancing.gradnorm.GradNorm.forward": "a task without gradient leaves the weights' Adam as it is",
    # Blocks of models.
    "mtlbench.nn.adversary.SourceDiscriminator._in_turn": "whose turn it is decides which parameters get a gradient",
    "mtlbench.nn.interest._looked_at": "on the CPU alone, where scoring no padding is worth it",
}
"""Functions that read, and why. Nothing else may (`tests/contracts/test_meta_device.py`): every read of a value that is
still being computed holds the queue of a GPU until the host has gone on. The step counts of torch's own optimizers are
on the host. Several processes also read how many rows of a table each of them has a gradient for."""
