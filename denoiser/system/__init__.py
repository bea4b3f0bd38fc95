"""Calls to the operating system: atomic files, memory, threads of BLAS, stdout and stderr."""
