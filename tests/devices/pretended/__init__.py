"""A pretended device: a backend in Python whose tensors hold real values in the host's memory, do not mix with the CPU's, and tell every wait and copy."""
