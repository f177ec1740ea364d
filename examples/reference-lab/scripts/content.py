"""The content pipeline for the agents: fetch, clean, tag, chunk, index, brief, render, archive. One step a call."""

import hashlib
import html
import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

from lab import DATA, put, stamp, work

COMMON = frozenset((DATA / "common-words.txt").read_text().split())


def words(text):
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in COMMON]


def load(name):
    path = work("content", name)
    if not path.exists():
        sys.exit(f"{path} is not there: an earlier step has not run")
    return json.loads(path.read_text())


def save(name, value):
    put(work("content", name), json.dumps(value, indent=1))


def fetch():
    items = []
    for feed in sorted((DATA / "feeds").glob("*.xml")):
        found = ElementTree.parse(feed).iter("item")
        items += [{part: item.findtext(part) for part in ("guid", "title", "description")} for item in found]
        print(f"{feed.stem}: {len(items)} items so far")
    save("fetched.json", items)


def clean():
    articles = []
    for item in load("fetched.json"):
        text = html.unescape(re.sub(r"<[^>]+>", " ", item["description"]))
        articles.append({"id": item["guid"], "title": item["title"], "text": " ".join(text.split())})
    save("articles.json", articles)
    print(f"{len(articles)} articles, {sum(len(a['text']) for a in articles)} characters")


def tag():
    articles = load("articles.json")
    seen = Counter(word for a in articles for word in set(words(a["text"])))
    tags = {}
    for article in articles:
        count = Counter(words(article["text"]))
        best = sorted(count, key=lambda word: (-count[word] / seen[word], word))
        tags[article["id"]] = best[:3]
        print(article["id"], *best[:3])
    save("tags.json", tags)


def chunk():
    chunks = []
    for article in load("articles.json"):
        parts = article["text"].split()
        for start in range(0, len(parts), 32):
            text = " ".join(parts[start : start + 40])
            chunks.append({"id": hashlib.sha256(text.encode()).hexdigest()[:12], "from": article["id"], "text": text})
    save("chunks.json", chunks)
    print(f"{len(chunks)} chunks")


def index():
    chunks = load("chunks.json")
    postings = {}
    for one in chunks:
        for word, count in Counter(words(one["text"])).items():
            postings.setdefault(word, {})[one["id"]] = count
    weights = {word: math.log(1 + len(chunks) / len(found)) for word, found in postings.items()}
    save("index.json", {"postings": postings, "weights": weights})
    print(f"{len(postings)} words over {len(chunks)} chunks")


def brief():
    chunks, found = {c["id"]: c for c in load("chunks.json")}, load("index.json")
    question = "what makes a backup and the jobs around it worth trusting"
    score = Counter()
    for word in words(question):
        for name, count in found["postings"].get(word, {}).items():
            score[name] += count * found["weights"][word]
    best = [{"score": round(value, 2), **chunks[name]} for name, value in score.most_common(5)]
    save("brief.json", {"question": question, "pieces": best})
    print(f"{question}: {len(best)} pieces from {len({piece['from'] for piece in best})} articles")


def render():
    text = load("brief.json")
    lines = [f"<h1>{html.escape(text['question'])}</h1>"]
    lines += [f"<p>{html.escape(p['text'])} <small>{p['from']}, {p['score']}</small></p>" for p in text["pieces"]]
    put(work("public", "brief.html"), "\n".join(lines) + "\n")
    print(f"brief.html: {len(text['pieces'])} pieces")


def archive():
    name = f"{stamp()}.json"
    value = {"brief": load("brief.json"), "tags": load("tags.json")}
    put(work("content", "archive", name), json.dumps(value))
    kept = sorted(work("content", "archive", name).parent.glob("*.json"))
    for old in kept[:-20]:
        old.unlink()
    print(f"{name}; {min(len(kept), 20)} kept")


if __name__ == "__main__":
    steps = {one.__name__: one for one in (fetch, clean, tag, chunk, index, brief, render, archive)}
    steps[sys.argv[1]]()
