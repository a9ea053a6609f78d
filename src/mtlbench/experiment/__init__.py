"""From a composed configuration to objects, a run and its result; nothing below this floor knows Hydra."""
