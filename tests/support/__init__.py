"""What tests share: requirements, waiting, processes, captured files."""

from support.captured import assert_counter_file, remove_tree, sha256_file
from support.needs import need, requires_fuse, requires_netns, requires_root, unmet
from support.outside import InThread, error_of, median, timed
from support.processes import children_of, command_line, is_running
from support.waiting import wait_until

__all__ = [
    "InThread",
    "assert_counter_file",
    "children_of",
    "command_line",
    "error_of",
    "is_running",
    "median",
    "need",
    "remove_tree",
    "requires_fuse",
    "requires_netns",
    "requires_root",
    "sha256_file",
    "timed",
    "unmet",
    "wait_until",
]
