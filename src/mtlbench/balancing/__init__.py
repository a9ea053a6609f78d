"""How the losses of several tasks become the one number whose gradient is followed; one method per file."""
