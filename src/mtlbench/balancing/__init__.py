"""Task balancing: methods that combine the task losses, one per file. Used by train/ through `protocol`."""
