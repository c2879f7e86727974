"""What is done to address spaces on request: mmap and its kin, fork, reclaim. Faults are the handler's to decide."""
