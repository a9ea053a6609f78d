"""Host-device synchronisations of a training step: reads of values, or of shapes that depend on values."""

HOST_READS = {
    # Tables with sparse gradients: the number of rows that a batch touches depends on the ids.
    "mtlbench.train.step.Step.__call__": "the backward pass of a table with sparse gradients excludes padding",
    "mtlbench.train.step._clip": "clipping sums the entries of a sparse gradient that belong to one row",
    "mtlbench.train.optimizers.coalesced": "LazyAdam sums the entries of a sparse gradient that belong to one row",
    "mtlbench.nn.bf16_tables.lookup_table": "the distinct rows of a batch, in a table stored in bfloat16",
    "mtlbench.train.deferred_adam.DeferredAdam.prepare": "the distinct rows of a batch are brought up to date",
    "mtlbench.train.deferred_adam.DeferredAdam._catch_up": "only rows that are not up to date are updated",
    "mtlbench.train.deferred_adam.DeferredAdam._step_rows": "coalesces too, and raises for rows that were not prepared",
    "mtlbench.train.deferred_adam.MissedSteps.append": "the decay of the rows so far, a factor of the step's terms",
    # Balancing methods that use gradients.
    "mtlbench.balancing.shared.SharedGradients.forward": (
        "backward passes as in the step itself, and a check that tasks share any parameters"
    ),
    "mtlbench.balancing.shared._rows": "the distinct rows in the sparse gradients of all tasks",
    "mtlbench.balancing.gramian.GramianWeights.forward": "solvers work on the CPU, on a [T, T] matrix",
    "mtlbench.balancing.gradnorm.GradNorm.forward": "with a task without gradient, the weights' Adam takes no step",
    # Blocks of models.
    "mtlbench.nn.adversary.SourceDiscriminator._in_turn": "the alternation decides which parameters get a gradient",
    "mtlbench.nn.interest._looked_at": "only on the CPU, where skipping padding is faster",
}
"""Functions that synchronise, and why; no others may (`tests/contracts/test_meta_device.py`), since reading a value
that is still being computed stalls the GPU's queue. The step counts of torch's own optimizers are on the host. Jobs of
several processes also read how many rows of a table have a gradient on each rank."""
