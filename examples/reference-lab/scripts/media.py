"""The media library: take in new pictures, scan, thumbnails, facts, gallery, publish. Pictures are binary PPM."""

import hashlib
import html
import json
import sys

from lab import image, put, samples, work

LIBRARY_MAX = 24


def size(path):
    kind, width, height, _ = path.read_bytes()[:32].split(maxsplit=4)[:4]
    if kind != b"P6":
        sys.exit(f"{path.name} is not a picture")
    return int(width), int(height)


def intake():
    """A camera that uploads one picture a time."""
    library = work("media", "library", "x").parent
    for photo in samples().joinpath("photos").glob("*.ppm"):
        if not (library / photo.name).exists():
            put(library / photo.name, photo.read_bytes())
    pictures = sorted(library.glob("upload-*.ppm"))
    number = int(pictures[-1].stem.split("-")[1]) + 1 if pictures else 0
    put(library / f"upload-{number:06}.ppm", image(1000 + number))
    for old in pictures[: max(0, len(pictures) + 1 - LIBRARY_MAX)]:
        old.unlink()
    print(f"upload-{number:06}.ppm")


def scan():
    pictures = sorted(work("media", "library", "x").parent.glob("*.ppm"))
    if not pictures:
        sys.exit("the library is empty")
    known = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in pictures}
    put(work("media", "scan.json"), json.dumps(known, indent=1))
    print(f"{len(known)} pictures, {len(set(known.values()))} different")


def scanned():
    return json.loads(work("media", "scan.json").read_text())


def thumbnails():
    made = 0
    for name in scanned():
        source = work("media", "library", name)
        target = work("media", "thumbnails", name)
        if target.exists() or not source.exists():
            continue
        width, height = size(source)
        pixels = source.read_bytes()[-width * height * 3 :]
        step = 4
        small = b"".join(
            pixels[(y * width + x) * 3 : (y * width + x) * 3 + 3]
            for y in range(0, height, step)
            for x in range(0, width, step)
        )
        put(target, b"P6\n%d %d\n255\n" % (len(range(0, width, step)), len(range(0, height, step))) + small)
        made += 1
    print(f"{made} new thumbnails")


def facts():
    known = {}
    for name in scanned():
        path = work("media", "library", name)
        if path.exists():
            width, height = size(path)
            known[name] = {"width": width, "height": height, "bytes": path.stat().st_size}
    put(work("media", "facts.json"), json.dumps(known, indent=1))
    print(f"{len(known)} pictures, {sum(f['bytes'] for f in known.values())} bytes")


def gallery():
    facts_ = json.loads(work("media", "facts.json").read_text())
    shown = [name for name in facts_ if work("media", "thumbnails", name).exists()]
    lines = [f"<li>{html.escape(name)} {facts_[name]['width']}x{facts_[name]['height']}</li>" for name in shown]
    put(work("media", "gallery.html"), "<ul>\n" + "\n".join(lines) + "\n</ul>\n")
    print(f"{len(shown)} pictures in the gallery")


def publish():
    put(work("public", "gallery.html"), work("media", "gallery.html").read_bytes())
    print(f"published {work('public', 'gallery.html').stat().st_size} bytes")


if __name__ == "__main__":
    steps = {one.__name__: one for one in (intake, scan, thumbnails, facts, gallery, publish)}
    steps[sys.argv[1]]()
