"""Record two seconds of an emulated board to a file, and check what is on the disk."""

import sys

import fastcap as fc
from fastcap.verify import verify_file

destination = sys.argv[1] if len(sys.argv) > 1 else "."

with fc.open("sim://?rate=2MHz&pattern=counter") as board:
    cap = board.record("2s", destination, meta={"laser_curr": "392.8mA"})

print(cap.report)
print("verified" if verify_file(cap.path).ok else "WRONG")
