#!/usr/bin/env python3
"""Compares what two builds of fcil have written: DIR/old with DIR/new, every file of every case.

usage: same_bytes.py DIR        called by same_bytes.sh

Left out, because it differs from run to run or from commit to commit:
  times and memory   the columns and JSON values of TIMES, "... left" of the progress, predicted seconds; the
                     pictures and table columns of time in reports. Predicted memory must agree to 2 % + 3 MiB,
                     and is named where it only agrees to 5 % + 3 MiB.
  versions           version and commit of manifests; the names of cached files, which are hashes of the commit
  checkpoints        crc32, and the tensors clock and log (where a log stood), which hold or follow times
What NEW has and OLD has not: options in resolved configs, columns of CSV files and tensors of checkpoints are left
out as well, and more lines in lists and help are allowed; each is named once at the end. Exit code 1: anything else
differs, or an option of NEW is unknown to its own `config explain`."""
import csv
import json
import os
import re
import struct
import sys

TIMES = "train_s|merge_s|eval_s|wall_s|cpu_s|rss_mib"
root = sys.argv[1]
named = {}  # text: number of files


def name(text):
    named[text] = named.get(text, 0) + 1


# --- text: what is masked, line by line ----------------------------------------------------------------

MASKS = [
    (re.compile(pattern), mask)
    for pattern, mask in [
        # JSON, also inside HTML
        (r'("|&quot;)(%s|seconds|start|version|commit)\1: ?("[^"]*"|&quot;.*?&quot;|[-+.0-9e]+)' % TIMES, r"\1\2\1: -"),
        (r"cache/fcil/(backbone|tasks)-[0-9a-f]{8}", r"cache/fcil/\1-"),
        (r"\[[^][]* left\]$", "[- left]"),
        # sweep run, plan and slurm; run --dry-run
        (r"^(finished .*) in [^,]*$", r"\1 in -"),
        (r"^([0-9a-f]{8}  .*?) +\d[\w .]* +\d+ [MG]iB$", r"\1 -"),
        (r"^about .* on this machine .* per job$", "about -"),
        (r"^(time  +about|memory  +about) .*", r"\1 -"),
        (r"^(#SBATCH --(time|mem))=.*", r"\1=-"),
        # reports
        (r"\bas of [-0-9]+ [:0-9]+ UTC", "as of -"),
        (r"(<dt>Time</dt><dd>).*(</dd>)", r"\1-\2"),
        # tables as CSV: a row per metric
        (r"^(.*,(%s),\d+),.*" % TIMES, r"\1,-"),
        # who had a run of a sweep
        (r"^(\w+) beat \d+ host .*", r"\1 beat -"),
    ]
]
TIME_FIGURE = re.compile(r"<figure>\n<h3>(Where the time goes|Accuracy against time)</h3>.*?</figure>", re.S)
TIME_TABLE = re.compile(r"<table>(?:(?!</table>).)*>time \(s\)<(?:(?!</table>).)*</table>", re.S)
LAST_CELL = re.compile(r"<td>(?:(?!</td>).)*</td></tr>", re.S)


def last_column(lines):
    """Markdown and LaTeX tables whose last column is time."""
    ends = None
    for line in lines:
        if re.search(r"time \(s\) (\||\\\\)$", line):
            ends = line[-2:]
        elif ends and line.endswith(ends):
            line = re.sub(r"[|&][^|&]*$", "-", line[: -len(ends)])
        elif not line.startswith(("|---", "\\midrule")):
            ends = None
        yield line


SECTION = re.compile(r"^(\n|<pre>|)(\w+):\n((?:  .*\n)+)", re.M)


def without_new_options(text, extra):
    """A resolved config: the blank line before a section, its name, its options."""

    def section(m):
        kept = []
        for line in m.group(3).splitlines(True):
            option = "%s.%s" % (m.group(2), line.split(":")[0].strip())
            if option in extra:
                name("option %s is new" % option)
            else:
                kept.append(line)
        return m.group(1) + m.group(2) + ":\n" + "".join(kept) if kept else m.group(1).strip("\n")

    return SECTION.sub(section, text)


def text_lines(path, text, extra):
    text = TIME_FIGURE.sub(r"<figure>\1", text)
    text = TIME_TABLE.sub(lambda m: LAST_CELL.sub("<td>-</td></tr>", m.group()), text)
    if extra and path.endswith(("config.yaml", ".html")):
        text = without_new_options(text, extra)
    lines = []
    for line in last_column(text.split("\n")):
        for pattern, mask in MASKS:
            line = pattern.sub(mask, line)
        if not re.match(r"(\w+ step|pretrain step) (\d+)/(?!\2 )", line):  # said when time has passed
            lines.append(line)
    return lines


MEMORY = re.compile(r'"memory_mib": ?([.0-9]+)')


def near_memory(a, b):
    """Two lines that differ in predictions of memory alone, by at most 2 % + 3 MiB: what the program holds already when
    it predicts is measured. Up to 5 % is named."""
    pairs = [(float(x), float(y)) for x, y in zip(MEMORY.findall(a), MEMORY.findall(b))]
    if MEMORY.sub("", a) != MEMORY.sub("", b) or not all(abs(x - y) <= 3 + 0.05 * x for x, y in pairs):
        return False
    if not all(abs(x - y) <= 3 + 0.02 * x for x, y in pairs):
        name("predicted memory differs by up to 5 %")
    return True


def csv_columns(path, old, new):
    """Rows without the columns of times, and without those that only NEW has."""
    old, new = list(csv.reader(old)), list(csv.reader(new))
    extra = [c for c in new[0] if c not in old[0]]
    for column in extra:
        name("%s has a new column %s" % (os.path.basename(path), column))

    def keep(rows):
        chosen = [i for i, c in enumerate(rows[0]) if not re.fullmatch(TIMES, c) and c not in extra]
        return [",".join(row[i] for i in chosen) if len(row) == len(rows[0]) else ",".join(row) for row in rows]

    return keep(old), keep(new)


def keys(text):
    """What a list is a list of: the first words of its lines, the options of a config, the names in JSON."""
    found, section = [], ""
    for line in text.split("\n"):
        head, key = re.match(r"(\S+)", line), re.match(r'  (\w+):|\s+"(?:name|key)": "(.*)"', line)
        if head:
            section = head.group(1)
            found.append(section)
        elif key:
            found.append(section + (key.group(1) or key.group(2)))
    return found


# --- binary files ------------------------------------------------------------------------------------


FORMATS = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "U8": "B"}


def checkpoint(data):
    """A line for each value of the header and each tensor; the numbers of a tensor stay bytes."""
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + n])
    lines = ["%s = %s" % item for item in header.pop("__metadata__").items() if item[0] != "crc32"]
    for tensor, of in header.items():
        begin, end = of["data_offsets"]
        numbers = b"" if tensor in ("clock", "log") else data[8 + n + begin : 8 + n + end]
        lines.append(("%s %s %s" % (tensor, of["dtype"], of["shape"]), of["dtype"], numbers))
    return lines


def first_numbers(a, b):
    """Two tensors that differ: their names, and the first number that does."""
    if isinstance(a, str) or isinstance(b, str) or a[0] != b[0]:
        return [line if isinstance(line, str) else line[0] for line in (a, b)]
    x, y = (memoryview(t[2]).cast(FORMATS[t[1]]) for t in (a, b))
    n = sum(p != q for p, q in zip(x, y))
    i = next(i for i in range(len(x)) if x[i : i + 1].tobytes() != y[i : i + 1].tobytes())
    return ["%s: %d numbers differ, [%d] = %r" % (t[0], n, i, v[i]) for t, v in ((a, x), (b, y))]


def events(data):
    """TensorBoard: records of a length and its checksum, an event and its checksum; the event begins with its time."""
    lines = []
    while data:
        (n,) = struct.unpack_from("<Q", data)
        assert data[12] == 9, "an event does not begin with its time"
        lines.append(data[12 + 9 : 12 + n].hex())
        data = data[16 + n :]
    return lines


# --- two files, two folders ----------------------------------------------------------------------------


def short(line):
    return line if len(line) <= 300 else line[:300] + " ..."


def difference(path, old, new, extra):
    """None, or where two files differ first."""
    if old == new:
        return None
    base = os.path.basename(path)
    if base.startswith("help-"):
        name("%s says it in other words" % base)
        return None
    if base.startswith("list-"):
        was, now = keys(old.decode()), keys(new.decode())
        gone = [k for k in was if was.count(k) > now.count(k)]
        if gone:
            return "%s: gone: %s" % (path, ", ".join(dict.fromkeys(gone)))
        more = [k for k in dict.fromkeys(now) if k not in was]
        for k in more:
            name("lists have a new %s" % k)
        if not more:
            name("%s says it in other words" % base)
        return None
    if re.search(r"ckpt/.*\.safetensors$", path):
        old, new = checkpoint(old), checkpoint(new)
        tensors = {line[0].split(" ")[0] for line in old if isinstance(line, tuple)}
        for line in [t for t in new if isinstance(t, tuple) and t[0].split(" ")[0] not in tensors]:
            name("checkpoints have a new tensor %s" % line[0].split(" ")[0])
            new.remove(line)
    elif "tfevents" in base:
        old, new = events(old), events(new)
    elif base.endswith(".pdf") or b"\0" in old or b"\0" in new:
        at = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
        return "%s: byte %d of %d and %d" % (path, at, len(old), len(new))
    else:
        old, new = text_lines(path, old.decode(), ()), text_lines(path, new.decode(), extra)
        if base.endswith(".csv") and "," in old[0]:
            old, new = csv_columns(path, old, new)
    for i, (a, b) in enumerate(zip(old, new)):
        if a != b and "ckpt/" in path and base.endswith(".safetensors"):
            a, b = first_numbers(a, b)
        if a != b and not near_memory(a, b):
            at = next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            at = max(0, at - 120) if at > 250 else 0
            return "%s:%d:\n    old: %s\n    new: %s" % (path, i + 1, short(a[at:]), short(b[at:]))
    if len(old) != len(new):
        more, side = (old, "old") if len(old) > len(new) else (new, "new")
        first = short(str(more[min(len(old), len(new))]))
        return "%s: %d and %d lines, first in %s alone: %s" % (path, len(old), len(new), side, first)
    return None


def files(top):
    """{path as it is compared: path}"""
    found = {}
    for folder, _, entries in os.walk(top):
        for entry in entries + ([""] if not entries else []):  # empty folders too
            path = os.path.relpath(os.path.join(folder, entry), top)
            masked = MASKS[1][0].sub(MASKS[1][1], path)
            assert masked not in found, "two cached files of one kind in one case: " + path
            found[masked] = os.path.join(folder, entry)
    return found


def read(path):
    if os.path.isdir(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


def options(side):
    """The options of `config explain`, and those of `config show` with each method."""
    shown = set()
    for section, lines in re.findall(r"^(\w+):\n((?:  .*\n)+)", read(os.path.join(root, side + ".shown")).decode(), re.M):
        shown.update("%s.%s" % (section, key) for key in re.findall(r"^  (\w+):", lines, re.M))
    return set(re.findall(r"^(\w+\.\w+)", read(os.path.join(root, side + ".explained")).decode(), re.M)), shown


explained, shown = options("new")
extra = explained | shown
extra -= set.union(*options("old"))
old, new = files(os.path.join(root, "old")), files(os.path.join(root, "new"))
faults = ["%s: only in old" % p for p in old if p not in new] + ["%s: only in new" % p for p in new if p not in old]
faults += ["config explain: NEW does not know its option %s" % key for key in shown - explained]
for path in sorted(old.keys() & new.keys()):
    fault = difference(path, read(old[path]), read(new[path]), extra)
    if fault:
        faults.append(fault)
for fault in sorted(faults):
    print(fault)
for text in sorted(named):
    print("named difference: %s (%d files)" % (text, named[text]))
cases = {p.split("/")[0] + "/" + p.split("/")[1] for p in re.findall(r"^[^:\n]+/[^:\n]+(?=:)", "\n".join(faults), re.M)}
print("%d files compared, %d differ%s" % (len(old), len(faults), ", in " + " ".join(sorted(cases)) if cases else ""))
sys.exit(1 if faults else 0)
