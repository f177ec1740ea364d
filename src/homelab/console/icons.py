"""The icon as PNG for home screens, drawn from the shape of `client/icon.svg`: `python -m homelab.console.icons`.

Writes `client/icon-SIZE.png`; they are kept in the tree, because drawing them takes seconds. A test draws the smallest
again and compares. Used by whoever changes the icon, never at run time.
"""

import struct
import sys
import zlib
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

SIZES = (180, 192, 512)
"""180: Apple's home screens. 192 and 512: what a web manifest must have."""
GROUND, LINE = (0x31, 0x57, 0xD5), (0xFF, 0xFF, 0xFF)
PATH = ((4.6, 10.4), (7.3, 10.4), (9.1, 5.9), (11.8, 14.0), (13.5, 10.4), (15.4, 10.4))
"""The pulse, in a square of 20, within the circle of 80 % that a masked icon keeps."""
THICK = 1.5


def drawn(size: int) -> bytes:
    """The icon as a PNG of `size` by `size`: the ground to the edge (systems round its corners), the pulse on it."""
    scale = size / 20
    points = [(x * scale, y * scale) for x, y in PATH]
    radius = THICK * scale / 2
    rows: list[bytes] = []
    for y in range(size):
        row = bytearray(b"\0" + bytes(GROUND) * size)
        for (x1, y1), (x2, y2) in pairwise(points):
            if not min(y1, y2) - radius - 1 <= y <= max(y1, y2) + radius + 1:
                continue
            for x in range(int(min(x1, x2) - radius - 1), int(max(x1, x2) + radius + 2)):
                cover = max(0.0, min(1.0, radius + 0.5 - _distance(x + 0.5, y + 0.5, x1, y1, x2, y2)))
                if cover:
                    for c in range(3):
                        place = 1 + 3 * x + c
                        mixed = round(GROUND[c] + (LINE[c] - GROUND[c]) * cover)
                        row[place] = max(row[place], mixed) if LINE[c] > GROUND[c] else min(row[place], mixed)
        rows.append(bytes(row))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _distance(x: float, y: float, x1: float, y1: float, x2: float, y2: float) -> float:
    dx, dy = x2 - x1, y2 - y1
    along = max(0.0, min(1.0, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)))
    return ((x - x1 - along * dx) ** 2 + (y - y1 - along * dy) ** 2) ** 0.5


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    folder = Path(str(files("homelab.console").joinpath("client")))
    for side in SIZES:
        (folder / f"icon-{side}.png").write_bytes(drawn(side))
        sys.stdout.write(f"icon-{side}.png\n")
