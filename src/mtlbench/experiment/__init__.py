"""From a composed configuration to objects, a run and its result. No lower layer imports Hydra."""
