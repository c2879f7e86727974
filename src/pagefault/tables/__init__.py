"""What hardware or the kernel looks things up in."""
