#!/usr/bin/env python3
"""Writes the small input files of the tests: tests/data (good) and tests/bad/<parser>/<fault> (bad).

Needs python3-numpy and python3-pil. The files are committed; run this again only to add one."""
import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent.parent


def put(path, data):
    path = HERE / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- safetensors -----------------------------------------------------------------------------------

def st(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin, end, shape, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def raw(offsets="[0,4]", shape="[1]", dtype='"F32"'):
    return f'{{"w":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'.encode()


def make_safetensors():
    one = struct.pack("<f", 1.5)
    bad = {
        "empty": b"",
        "seven-bytes": b"\0" * 7,
        "header-longer-than-file": struct.pack("<Q", 1000) + b"{}",
        "header-of-2e64": b"\xff" * 8 + b"{}",
        "header-empty": struct.pack("<Q", 0),
        "header-is-array": st(b"[]"),
        "header-cut-off": st(b'{"w":{"dtype":'),
        "header-not-utf8": st(b'{"\xff":1}'),
        "header-then-text": st(b"{} x"),
        "header-deep": st(b'{"w":' + b"[" * 5000),
        "duplicate-name": st(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                             b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', one),
        "entry-is-number": st(b'{"w":7}', one),
        "dtype-missing": st(b'{"w":{"shape":[1],"data_offsets":[0,4]}}', one),
        "dtype-unknown": st(raw(dtype='"F8_E4M3"'), one),
        "dtype-number": st(raw(dtype="32"), one),
        "shape-missing": st(b'{"w":{"dtype":"F32","data_offsets":[0,4]}}', one),
        "shape-negative": st(raw(shape="[-1]"), one),
        "shape-float": st(raw(shape="[1.0]"), one),
        "shape-200-digits": st(raw(shape="[" + "9" * 200 + "]"), one),
        "shape-overflow": st(raw(shape="[4294967296,4294967296,4294967296]"), one),
        "shape-bytes-overflow": st(raw(shape="[4611686018427387904]", offsets="[0,0]")),
        "shape-nine-dims": st(raw(shape="[1,1,1,1,1,1,1,1,1]"), one),
        "shape-wrong": st(raw(shape="[2]"), one),
        "offsets-missing": st(b'{"w":{"dtype":"F32","shape":[1]}}', one),
        "offsets-three": st(raw(offsets="[0,4,8]"), one),
        "offsets-text": st(raw(offsets='["0","4"]'), one),
        "offsets-float": st(raw(offsets="[0.0,4.0]"), one),
        "offsets-negative": st(raw(offsets="[-4,0]"), one),
        "offsets-swapped": st(raw(offsets="[4,0]"), one),
        "offsets-out-of-file": st(raw(offsets="[4,8]"), one),
        "offsets-200-digits": st(raw(offsets="[0," + "9" * 200 + "]"), one),
        "offsets-2e63": st(raw(offsets="[0,9223372036854775808]"), one),
        "overlap": st({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, one * 3),
        "hole": st({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, one * 3),
        "hole-at-start": st({"a": tensor(4, 8, [1])}, one * 2),
        "bytes-after-end": st({"a": tensor(0, 4, [1])}, one * 2),
        "metadata-number": st({"__metadata__": {"heads": 3}, "a": tensor(0, 4, [1])}, one),
        "metadata-list": st({"__metadata__": [], "a": tensor(0, 4, [1])}, one),
        "nan-f32": st({"a": tensor(0, 8, [2])}, one + b"\0\0\xc0\x7f"),
        "inf-f16": st({"a": tensor(0, 2, [1], "F16")}, b"\x00\x7c"),
        "nan-bf16": st({"a": tensor(0, 2, [1], "BF16")}, b"\xc0\x7f"),
    }
    for name, data in bad.items():
        put(f"bad/safetensors/{name}", data)


# --- models with experts: of one block, width 4, MLP 6 (tests/fuzz/fuzz_experts.c) ------------------

def experts(metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    types = {"float32": "F32", "float64": "F64", "uint8": "U8", "int64": "I64"}
    for name, a in tensors.items():
        header[name] = tensor(len(data), len(data) + a.nbytes, list(a.shape), types[a.dtype.name])
        data += a.tobytes()
    return st(header, data)


def ramp(*shape, dtype="f4"):
    return np.arange(1, 1 + np.prod(shape), dtype=dtype).reshape(shape) / 8


def make_experts():
    two = {"experts.tasks": "[1, 2]"}
    smile_says = {"experts": "smile", "top_k": "2", **two}
    qkv = "smile.blocks.0.attn.qkv.weight."
    smile = {qkv + "0.B": ramp(12, 2), qkv + "0.A": ramp(2, 4), qkv + "0.bias": ramp(1, 12),
             qkv + "1.W": ramp(12, 4), qkv + "gate": np.array([[1, 2]], "i8"),
             qkv + "router": ramp(3, 4)}
    wemoe_says = {"experts": "wemoe", "router_layers": "2", "batch_reduce": "true", **two}
    fc2, gate = "wemoe.blocks.0.mlp.fc2.weight.", "wemoe.blocks.0.mlp.gate."
    wemoe = {fc2 + "0.W": ramp(4, 6), fc2 + "1.B": ramp(4, 1), fc2 + "1.A": ramp(1, 6),
             gate + "fc1.weight": ramp(4, 4), gate + "fc1.bias": ramp(1, 4),
             gate + "fc2.weight": ramp(2, 4), gate + "fc2.bias": ramp(1, 2)}
    emr_says = {"experts": "emr", **two}
    proj = "emr.blocks.0.attn.proj.weight."
    emr = {proj + "unified": ramp(4, 4, dtype="f8"), proj + "mask": np.full((2, 2), 90, "u1"),
           "emr.rescaler": ramp(1, 2, dtype="f8")}
    put("data/experts/smile", experts(smile_says, smile))
    put("data/experts/wemoe", experts(wemoe_says, wemoe))
    put("data/experts/wemoe-constant", experts({**wemoe_says, "router_layers": "0"},
                                               {gate + "weight": ramp(1, 2)}))
    put("data/experts/emr", experts(emr_says, emr))
    put("data/experts/none", experts({}, {"w": ramp(1)}))
    bad = {
        "kind-unknown": experts({**emr_says, "experts": "tall"}, emr),
        "tasks-missing": experts({"experts": "emr"}, emr),
        "tasks-zero": experts({**emr_says, "experts.tasks": "[0, 2]"}, emr),
        "tasks-of-three": experts({**emr_says, "experts.tasks": "[1, 1, 1]"}, emr),
        "tensor-of-no-layer": experts(emr_says, {**emr, "emr.blocks.7.norm1.bias.mask": ramp(1)}),
        "smile-top-k-of-three": experts({**smile_says, "top_k": "3"}, smile),
        "smile-gate-nan": experts(smile_says, {**smile, qkv + "gate": np.full((1, 2), np.nan)}),
        "smile-gate-negative": experts(smile_says, {**smile, qkv + "gate": np.array([[-1, 4]], "i8")}),
        "smile-rank-of-five": experts(smile_says, {**smile, qkv + "0.B": ramp(12, 5), qkv + "0.A": ramp(5, 4)}),
        "smile-three-dims": experts(smile_says, {**smile, qkv + "router": ramp(3, 4, 1)}),
        "wemoe-layers-of-three": experts({**wemoe_says, "router_layers": "3"}, wemoe),
        "wemoe-gate-wide": experts(wemoe_says, {**wemoe, gate + "fc2.weight": ramp(2, 5)}),
        "wemoe-expert-missing": experts(wemoe_says, {k: v for k, v in wemoe.items() if k != fc2 + "1.A"}),
        "emr-mask-short": experts(emr_says, {**emr, proj + "mask": np.full((2, 1), 90, "u1")}),
        "emr-mask-of-floats": experts(emr_says, {**emr, proj + "mask": ramp(2, 2)}),
    }
    for name, data in bad.items():
        put(f"bad/experts/{name}", data)


# --- pickles ---------------------------------------------------------------------------------------

def py2_string(b):
    return b"U" + bytes([len(b)]) + b if len(b) < 256 else b"T" + struct.pack("<i", len(b)) + b


def py2_ints(values):
    return b"](" + b"".join(b"K" + bytes([v]) for v in values) + b"e"


def py2_array(a, dtype=b"u1", fortran=False, shape=None):
    rows, cols = shape or a.shape
    return (b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87R"
            b"(K\x01" + b"J" + struct.pack("<i", rows) + b"M" + struct.pack("<H", cols) + b"\x86"
            b"cnumpy\ndtype\nq\x07" + py2_string(dtype) + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
            b"J\xff\xff\xff\xffK\x00tb" + (b"\x88" if fortran else b"\x89") + py2_string(a.tobytes()) + b"tb")


def py2_dict(**items):
    """What Python 2 wrote for the published files: protocol 2, byte strings."""
    return b"\x80\x02}q\x01(" + b"".join(py2_string(k.encode()) + v for k, v in items.items()) + b"u."


def records(n, first=0):
    """n images: pixel (i, k) = (first + i) * 7 + k modulo 256."""
    i, k = np.arange(first, first + n)[:, None], np.arange(3072)[None]
    return ((i * 7 + k) % 256).astype(np.uint8)


def make_pickles():
    for b in range(5):
        labels = [2 * b, 2 * b + 1]
        put(f"data/cifar-10-batches-py/data_batch_{b + 1}",
            py2_dict(batch_label=py2_string(b"batch"), labels=py2_ints(labels),
                     data=py2_array(records(2, 2 * b)), filenames=b"](" + py2_string(b"a.png") * 2 + b"e"))
    put("data/cifar-10-batches-py/test_batch",
        py2_dict(labels=py2_ints(range(10)), data=py2_array(records(10, 100))))
    names = b"](" + b"".join(py2_string(b"class%d" % i) for i in range(10)) + b"e"
    put("data/cifar-10-batches-py/batches.meta", py2_dict(num_vis=b"M\x00\x0c", label_names=names))

    small = {b"data": np.arange(200, 212, dtype=np.uint8).reshape(2, 6), b"labels": [3, 70000],
             b"none": None, b"long": 1 << 40, b"empty": b""}
    for protocol in 2, 3, 4:
        put(f"data/pickle/protocol-{protocol}", pickle.dumps(small, protocol))
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    good = py2_dict(data=py2_array(array), labels=py2_ints([0, 1]))

    def one(value):
        return b"\x80\x02}U\x01a" + value + b"s."
    bad = {
        "empty": b"",
        "protocol-0": pickle.dumps(small, 0),
        "protocol-9": b"\x80\x09N.",
        "no-stop": b"\x80\x02N",
        "stop-on-empty-stack": b"\x80\x02.",
        "stop-on-mark": b"\x80\x02(.",
        "bytes-after-stop": good + b"x",
        "cut-in-array": good[:-40],
        "cut-in-name": b"\x80\x02cnumpy",
        "string-of-4-gib": b"\x80\x02T\xff\xff\xff\xffabc",
        "string-of-2e64": b"\x80\x04\x8e" + b"\xff" * 8 + b"abc",
        "runs-os-system": b"\x80\x02cos\nsystem\nU\x04true\x85R.",
        "runs-eval-from-stack": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        "calls-a-type": one(b"cnumpy\nndarray\n)R"),
        "calls-a-string": one(b"U\x01f)R"),
        "opcode-unknown": b"\x80\x02\xee.",
        "memo-never-stored": b"\x80\x02h\x07.",
        "memo-number-huge": b"\x80\x02Nr\xff\xff\xff\xff.",
        "memo-of-nothing": b"\x80\x02q\x00.",
        "append-to-none": b"\x80\x02NK\x01a.",
        "pair-to-list": b"\x80\x02]K\x01K\x02s.",
        "key-without-value": b"\x80\x02}(K\x01u.",
        "no-mark": b"\x80\x02K\x01t.",
        "mark-in-tuple": b"\x80\x02(K\x01\x86.",
        "long-of-9-bytes": b"\x80\x02\x8a\x09" + b"\1" * 9 + b".",
        "state-of-int": b"\x80\x02K\x01)b.",
        "state-of-four": one(b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01K\x01K\x01tb"),
        "dtype-without-name": one(b"cnumpy\ndtype\n)R"),
        "array-of-float": one(py2_array(array, b"f8")),
        "array-in-fortran-order": one(py2_array(array, fortran=True)),
        "array-shape-wrong": one(py2_array(array, shape=(2, 4))),
        "array-shape-negative": one(py2_array(array, shape=(-2, 3))),
        "encode-not-latin1": one(b"c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R"),
        "encode-one-argument": one(b"c_codecs\nencode\nU\x01a\x85R"),
        "encode-again-and-again": b"\x80\x02c_codecs\nencode\nq\0X\x50\0\0\0" + b"a" * 80 +
                                  b"X\x06\0\0\0latin1\x86q\1R" + b"0h\0h\1R" * 30 + b".",
        "bytes-with-argument": one(b"c__builtin__\nbytes\nK\x05\x85R"),
    }
    for name, data in bad.items():
        put(f"bad/pickle/{name}", data)


# --- npz -------------------------------------------------------------------------------------------

def npz(deflate=False, **arrays):
    f = io.BytesIO()
    (np.savez_compressed if deflate else np.savez)(f, **arrays)
    return f.getvalue()


def zip_of(deflate=False, **members):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as z:
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo(name + ".npy"), data)
    return f.getvalue()


def npy(header, data=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def make_npz():
    x = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    y = np.array([0, 1, 1, 0])
    put("data/rgb.npz", npz(x_train=x, y_train=y, x_test=x[:2] + 100, y_test=y[:2].astype(np.uint8)))
    put("data/grey-deflated.npz", npz(True, train_images=x[..., 0], train_labels=y.astype(np.int16)[:, None],
                                      test_images=x[:2, ..., :1], test_labels=y[:2].astype("<u4")))
    good = npz(x_train=np.arange(6, dtype=np.uint8))
    central, end = good.index(b"PK\1\2"), good.index(b"PK\5\6")
    packed = npz(True, x_train=np.zeros(500, dtype=np.uint8))
    central_packed = packed.index(b"PK\1\2")
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"
    big = npz(x_train=np.arange(6, dtype=">i4"))
    bad = {
        "empty": b"",
        "not-a-zip": b"PK" * 40,
        "cut-off": good[:-10],
        "end-only-zip64": patched(good, end + 16, b"\xff" * 4),
        "directory-out-of-file": patched(good, end + 16, b"\xf0\xff\xff\x7f"),
        "directory-damaged": patched(good, central, b"XX"),
        "directory-cut-off": patched(good, central + 28, b"\xff\xff"),
        "encrypted": patched(good, central + 8, b"\1"),
        "member-zip64": patched(good, central + 20, b"\xff" * 8),
        "member-method-99": patched(good, central + 10, b"\x63"),
        "member-out-of-file": patched(good, central + 42, b"\xff\xff\0\0"),
        "member-too-long": patched(good, central + 20, b"\xff\xff\0\0\xff\xff\0\0"),
        "member-stored-of-other-size": patched(good, central + 20, b"\x10\0\0\0"),
        "member-inflates-to-4-gb": patched(packed, central_packed + 24, b"\0\0\0\xf0"),
        "member-inflates-to-less": patched(packed, central_packed + 24, b"\xff\xff\0\0"),
        "member-inflates-to-more": patched(packed, central_packed + 24, b"\x10\0\0\0"),
        "deflate-corrupt": patched(packed, packed.index(b"x_train.npy") + 40, b"\xff" * 8),
        "checksum-wrong": patched(good, central - 1, b"\x77"),
        "npy-no-magic": zip_of(x_train=b"hello, this is no npy file"),
        "npy-version-9": zip_of(x_train=b"\x93NUMPY\x09\0\2\0{}  "),
        "npy-header-too-long": zip_of(x_train=b"\x93NUMPY\1\0\xff\xff{}  "),
        "npy-header-empty-dict": zip_of(x_train=npy("{}  ")),
        "npy-float": npz(x_train=np.ones(3)),
        "npy-object": npz(x_train=np.array([None, 1], dtype=object)),
        "npy-big-endian": big,
        "npy-fortran": npz(x_train=np.asfortranarray(np.ones((2, 3), np.uint8))),
        "npy-five-dims": npz(x_train=np.ones((1, 1, 1, 1, 1), np.uint8)),
        "npy-shape-text": zip_of(x_train=npy(shape % "(two,)")),
        "npy-shape-negative": zip_of(x_train=npy(shape % "(-1,)")),
        "npy-shape-overflow": zip_of(x_train=npy(shape % "(99999999999999999,99999999999999999)")),
        "npy-shape-40-digits": zip_of(x_train=npy(shape % f"({'9' * 40},)")),
        "npy-shape-open": zip_of(x_train=npy(shape.replace(", }", "") % "(3,")),
        "npy-data-short": zip_of(x_train=npy(shape % "(4,)", b"abc")),
        "npy-data-long": zip_of(x_train=npy(shape % "(4,)", b"abcde")),
    }
    for name, data in bad.items():
        put(f"bad/npz/{name}", data)


# --- idx -------------------------------------------------------------------------------------------

def gz(data):
    c = zlib.compressobj(9, zlib.DEFLATED, 31)
    return c.compress(data) + c.flush()


def make_idx():
    good = b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
    bad = {
        "empty": b"",
        "cut-in-header": good[:10],
        "type-float": patched(good, 2, b"\x0d"),
        "dimensions-one": patched(good, 3, b"\1"),
        "data-short": good[:-1],
        "data-long": good + b"x",
        "size-overflow": b"\0\0\x08\x03" + b"\xff" * 12,
        "gzip-only-magic": b"\x1f\x8b",
        "gzip-corrupt": patched(gz(good), 14, b"\xff\xff\xff"),
        "gzip-cut-off": gz(good)[:-12],
        "gzip-checksum-wrong": patched(gz(good), len(gz(good)) - 8, b"\0\0"),
        "gzip-data-short": gz(good[:-1]),
        "gzip-data-long": gz(good + b"x"),
        "gzip-bytes-after-end": gz(good) + b"x",
        "gzip-promises-8-gb": gz(b"\0\0\x08\x03" + struct.pack(">3I", 2000, 2000, 2000)),
    }
    for name, data in bad.items():
        put(f"bad/idx/{name}", data)


# --- images ----------------------------------------------------------------------------------------

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=b"", interlace=0):
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) +
            chunk(b"IEND", b""))


def plain(a):
    """Rows of samples, each with filter byte 0."""
    return b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in a)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def picture():
    """5 x 4 RGB: pixel (x, y) = (50 x, 60 y, 10 x y + 3)."""
    y, x = np.mgrid[0:4, 0:5]
    return np.stack([50 * x, 60 * y, 10 * x * y + 3], -1).astype(np.uint8)


def make_images():
    rgb = picture()
    grey = (np.arange(20).reshape(4, 5) * 13).astype(np.uint8)
    palette = rgb.reshape(-1, 3)
    index = np.arange(20, dtype=np.uint8).reshape(4, 5)
    alpha = np.full((4, 5, 1), 255, np.uint8)
    alpha[:, 2:] = 0
    alpha[3, :] = 128
    plte = chunk(b"PLTE", palette.tobytes())
    passes = b"".join(plain(rgb[y0::dy, x0::dx]) for y0, x0, dy, dx in ADAM7 if rgb[y0::dy, x0::dx].size)
    wide = rgb.astype(">u2") * 257
    good = png(5, 4, 8, 2, plain(rgb))
    images = {
        "rgb8.png": good,
        "rgb8-interlaced.png": png(5, 4, 8, 2, passes, interlace=1),
        "rgb16.png": png(5, 4, 16, 2, plain(wide)),
        "rgba8.png": png(5, 4, 8, 6, plain(np.concatenate([rgb, alpha], -1))),
        "palette.png": png(5, 4, 8, 3, plain(index), plte),
        "palette-alpha.png": png(5, 4, 8, 3, plain(index), plte + chunk(b"tRNS", bytes([0] * 10 + [255] * 10))),
        "rgb8-transparent-colour.png": png(5, 4, 8, 2, plain(rgb),
                                           chunk(b"tRNS", struct.pack(">3H", 50, 60, 13))),
        "rgb8-gamma.png": png(5, 4, 8, 2, plain(rgb), chunk(b"gAMA", struct.pack(">I", 100000))),
        "grey8.png": png(5, 4, 8, 0, plain(grey)),
        "grey16-alpha.png": png(5, 4, 16, 4, plain(np.stack(
            [grey.astype(">u2") * 257, alpha[..., 0].astype(">u2") * 257], -1))),
        "grey1.png": png(5, 4, 1, 0, plain(np.array([[0b10101000]] * 4, np.uint8))),
        "rgb.ppm": b"P6 # comment\n5 4\n255\n" + rgb.tobytes(),
        "rgb16.ppm": b"P6\n5\n4\n65535\n" + wide.tobytes(),
        "grey.pgm": b"P5 5 4 255\n" + grey.tobytes(),
    }
    smooth = Image.fromarray(np.repeat(np.repeat(rgb, 8, 0), 8, 1))
    for name, options in {"444.jpg": dict(quality=95, subsampling=0), "420.jpg": dict(quality=90),
                          "progressive.jpg": dict(quality=95, subsampling=0, progressive=True)}.items():
        f = io.BytesIO()
        smooth.save(f, "JPEG", **options)
        images[name] = f.getvalue()
    for name, data in images.items():
        put(f"data/images/{name}", data)

    jpeg = images["444.jpg"]
    sos = jpeg.index(b"\xff\xda")
    idat = good.index(b"IDAT")
    bad = {
        "empty": b"",
        "text.png": b"this is no image",
        "gif-in-disguise.png": b"GIF89a" + b"\0" * 20,
        "png-signature-only.png": good[:8],
        "png-cut-in-header.png": good[:20],
        "png-cut-in-pixels.png": good[:idat + 20],
        "png-without-end.png": good[:-12],
        "png-checksum-wrong.png": patched(good, len(good) - 14, b"\x55"),
        "png-pixels-corrupt.png": good[:33] + chunk(b"IDAT", b"nonsense") + chunk(b"IEND", b""),
        "png-pixels-missing.png": png(5, 4, 8, 2, plain(rgb)[:20]),
        "png-palette-missing.png": png(5, 4, 8, 3, plain(index)),
        "png-width-0.png": png(0, 4, 8, 2, b""),
        "png-width-30000.png": png(30000, 1, 8, 2, b""),
        "png-300-megapixels.png": png(20000, 15000, 8, 2, b""),
        "jpeg-cut-in-header.jpg": jpeg[:60],
        "jpeg-cut-in-scan.jpg": jpeg[:sos + 40],
        "jpeg-without-end.jpg": jpeg[:-2],
        "jpeg-without-scan.jpg": jpeg[:sos] + b"\xff\xd9",
        "jpeg-huffman-of-300-codes.jpg": jpeg[:sos] + b"\xff\xc4" + struct.pack(">H", 2 + 17 + 300) + b"\0" +
                                         b"\0" * 14 + bytes([45, 255]) + b"\0" * 300 + jpeg[sos:],
        "jpeg-huffman-of-4080-codes.jpg": patched(jpeg, jpeg.index(b"\xff\xc4") + 5, b"\xff" * 16),
        "jpeg-huffman-code-lengths.jpg": patched(jpeg, jpeg.index(b"\xff\xc4") + 5, b"\x0c" + b"\0" * 15),
        "jpeg-junk-between-segments.jpg": jpeg[:20] + b"junk" + jpeg[20:],
        "jpeg-without-tables.jpg": jpeg[:jpeg.index(b"\xff\xc4")] + jpeg[sos:],
        "jpeg-width-0.jpg": patched(jpeg, jpeg.index(b"\xff\xc0") + 7, b"\0\0"),
        "jpeg-segment-past-end.jpg": patched(jpeg, 4, b"\xff\xf0"),
        "ppm-cut-off.ppm": images["rgb.ppm"][:-1],
        "ppm-too-long.ppm": images["rgb.ppm"] + b"x",
        "ppm-header-cut-off.ppm": b"P6 5 4",
        "ppm-maxval-0.ppm": b"P6 5 4 0\n" + rgb.tobytes(),
        "ppm-maxval-70000.ppm": b"P6 5 4 70000\n" + rgb.tobytes(),
        "ppm-width-200-digits.ppm": b"P6 " + b"9" * 200 + b" 4 255\n" + rgb.tobytes(),
        "ppm-width-huge.ppm": b"P6 999999999 999999999 255\n",
        "ppm-comment-open.ppm": b"P6 # no end",
    }
    for name, data in bad.items():
        put(f"bad/decode/{name}", data)


make_safetensors()
make_experts()
make_pickles()
make_npz()
make_idx()
make_images()
