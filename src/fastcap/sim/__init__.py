"""Emulated devices that ship with the package: the board, and what else a capture needs to be tried out."""
