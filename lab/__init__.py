"""Boots real kernels under QEMU and records what they do with our programs: see README.md."""
