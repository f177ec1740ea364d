"""What the example's scripts share: the work folder, samples to work on, whole files or none. Standard library only."""

import csv
import os
import random
import sqlite3
import sys
import time
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


def work(*parts):
    """A path below the work folder, its parent made: LAB_WORK, else the folder `work` of the lab's home."""
    root = Path(os.environ.get("LAB_WORK") or Path(os.environ.get("HOMELAB_HOME", "")) / "work")
    if not root.is_absolute():
        sys.exit("set LAB_WORK to the folder to work in (or HOMELAB_HOME, whose folder `work` is then used)")
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def put(path, content):
    """Write a whole file or leave the old one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
    fresh.replace(path)
    return path


def rows(name):
    """The lines of a table in the data folder, as dictionaries."""
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def stamp():
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def image(seed, width=96, height=64):
    """A small picture (binary PPM) that differs by seed."""
    chance = random.Random(seed)
    red, green, blue = (chance.randrange(256) for _ in range(3))
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            pixels += bytes(((red + x * 2) % 256, (green + y * 3) % 256, (blue + x + y) % 256))
    return b"P6\n%d %d\n255\n" % (width, height) + bytes(pixels)


def samples():
    """Documents, photos, repositories, configurations and a database, made once: what a home has and jobs work on."""
    root = work("samples")
    if not root.exists():
        making = root.with_name(f".samples.{os.getpid()}")
        chance = random.Random(46)
        for folder, count in (("documents", 12), ("configs", 6), ("agents", 4), ("repos/site", 5), ("repos/tools", 5)):
            for number in range(count):
                path = making / folder / f"{Path(folder).name}-{number:02}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                words = " ".join(chance.choice(GREEK) for _ in range(200))
                path.write_text(f"# {path.stem}\n{words}\n")
        (making / "photos").mkdir()
        for number in range(4):
            (making / "photos" / f"photo-{number:02}.ppm").write_bytes(image(number))
        for name in ("app", "memory"):
            database = sqlite3.connect(making / f"{name}.sqlite")
            database.executescript((DATA / "app.sql").read_text())
            database.close()
        try:
            making.rename(root)
        except OSError:  # another job made them in the meantime
            import shutil

            shutil.rmtree(making, ignore_errors=True)
    return root
