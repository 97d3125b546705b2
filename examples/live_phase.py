"""Follow the phase live, block by block, without a copy and without a file."""

import fastcap as fc

with fc.open("sim://?rate=2MHz") as board, board.stream(block_words=1 << 18, length="1s") as stream:
    for block in stream.blocks():
        phase = block.phase()
        print(f"word {block.index:>8}: phase {phase[-1]:10.3f} turns, radius {block.radius().mean():10.0f}")
