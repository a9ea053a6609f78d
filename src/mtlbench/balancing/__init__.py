"""Task balancing: one method per file that combines the task losses. Used by train/ through `protocol`."""
