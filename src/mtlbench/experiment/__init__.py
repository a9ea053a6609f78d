"""From a composed configuration to objects, a run and its result. Nothing below this floor knows Hydra."""
