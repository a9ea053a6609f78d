"""Building blocks: tensors in, tensors out, one idea per file. Used by models/."""
