#!/usr/bin/env python3
"""Golden outputs of Vision Transformers, made by PyTorch independently of fcil.

Needs python3-torch and numpy. The network is written with plain torch functions in timm's tensor
names; the safetensors reader is the few lines below. Nothing of fcil is used, so that the test
golden_vit, which reads what this script writes, compares two implementations.

    check_logits_torch.py write FOLDER [--real WEIGHTS.safetensors --cifar test.bin]
        tiny.safetensors  a random ViT of a few KB
        tiny.gold         images, logits and features at its own and at another image size
        real.gold         the same for WEIGHTS and some images of CIFAR-100's test.bin
    check_logits_torch.py check FILE.gold WEIGHTS.safetensors
        recomputes a golden file and prints the largest difference (exit 1 above 1e-4)

A .gold file is text. `image N` sets the side in pixels; `pixels K` is followed by K images of
uint8 (channel, y, x) in hexadecimal, one a line; they are enlarged to N by repetition of pixels
and normalised to x / 127.5 - 1; `features D` and `logits C` are followed by one line per image.
"""
import argparse
import json
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F


def read_safetensors(path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    meta = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        assert t["dtype"] == "F32", name
        begin, end = t["data_offsets"]
        a = np.frombuffer(data[begin:end], "<f4").reshape(t["shape"])
        tensors[name] = torch.from_numpy(a.copy())
    return tensors, meta


def write_safetensors(path, tensors, meta):
    header, blobs, at = {"__metadata__": meta}, [], 0
    for name, t in tensors.items():
        blob = t.numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def forward(w, heads, x):
    """Features and logits of images x (n, 3, side, side)."""
    patch = w["patch_embed.proj.weight"].shape[-1]
    width = w["patch_embed.proj.weight"].shape[0]
    tokens = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
    grid = tokens.shape[-1]
    tokens = tokens.flatten(2).transpose(1, 2)
    pos = w["pos_embed"]
    old = round((pos.shape[1] - 1) ** 0.5)
    if old != grid:
        # timm's resample_abs_pos_embed
        image = pos[:, 1:].reshape(1, old, old, width).permute(0, 3, 1, 2)
        image = F.interpolate(image, size=(grid, grid), mode="bicubic", antialias=True)
        pos = torch.cat([pos[:, :1], image.permute(0, 2, 3, 1).reshape(1, -1, width)], 1)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), tokens], 1) + pos
    depth = sum(name.endswith("attn.qkv.weight") for name in w)
    for i in range(depth):
        get = lambda name: (w[f"blocks.{i}.{name}.weight"], w[f"blocks.{i}.{name}.bias"])
        h = F.layer_norm(x, (width,), *get("norm1"), eps=1e-6)
        n, t, _ = h.shape
        q, k, v = F.linear(h, *get("attn.qkv")).reshape(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        x = x + F.linear((weights @ v).transpose(1, 2).reshape(n, t, width), *get("attn.proj"))
        h = F.layer_norm(x, (width,), *get("norm2"), eps=1e-6)
        x = x + F.linear(F.gelu(F.linear(h, *get("mlp.fc1"))), *get("mlp.fc2"))
    features = F.layer_norm(x, (width,), w["norm.weight"], w["norm.bias"], eps=1e-6)[:, 0]
    return features, F.linear(features, w["head.weight"], w["head.bias"])


def prepare(pixels, side):
    """uint8 (n, 3, s, s) -> normalised (n, 3, side, side)."""
    x = torch.from_numpy(pixels.astype(np.float32))
    times = side // x.shape[-1]
    x = x.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return x / 127.5 - 1


def heads_of(w, meta):
    return int(meta.get("heads", w["pos_embed"].shape[-1] // 64))


def section(out, w, meta, pixels, side):
    features, logits = forward(w, heads_of(w, meta), prepare(pixels, side))
    out.write(f"image {side}\npixels {len(pixels)} {pixels.shape[-1]}\n")
    for image in pixels:
        out.write(image.tobytes().hex() + "\n")
    for name, a in (("features", features), ("logits", logits)):
        out.write(f"{name} {a.shape[1]}\n")
        for row in a.tolist():
            out.write(" ".join("%.7g" % v for v in row) + "\n")


def tiny_vit():
    g = torch.Generator().manual_seed(0)
    width, hidden, depth, patch, tokens, classes = 12, 20, 2, 4, 1 + 3 * 3, 5
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        for name, shape in (
            ("norm1", (width,)),
            ("attn.qkv", (3 * width, width)),
            ("attn.proj", (width, width)),
            ("norm2", (width,)),
            ("mlp.fc1", (hidden, width)),
            ("mlp.fc2", (width, hidden)),
        ):
            shapes[f"blocks.{i}.{name}.weight"] = shape
            shapes[f"blocks.{i}.{name}.bias"] = shape[:1]
    shapes.update({"norm.weight": (width,), "norm.bias": (width,)})
    shapes.update({"head.weight": (classes, width), "head.bias": (classes,)})
    return {name: torch.randn(shape, generator=g) * 0.4 for name, shape in shapes.items()}


def write(folder, real, cifar):
    w, meta = tiny_vit(), {"heads": "3"}
    write_safetensors(f"{folder}/tiny.safetensors", w, meta)
    rng = np.random.default_rng(0)
    with open(f"{folder}/tiny.gold", "w") as out:
        for side, pixels in ((12, 12), (20, 10), (8, 8)):  # own size, larger, smaller
            section(out, w, meta, rng.integers(0, 256, (2, 3, pixels, pixels), np.uint8), side)
    if not real:
        return
    w, meta = read_safetensors(real)
    records = np.fromfile(cifar, np.uint8).reshape(-1, 2 + 3072)[[0, 1, 4711]]
    pixels = records[:, 2:].reshape(-1, 3, 32, 32)
    with open(f"{folder}/real.gold", "w") as out:
        section(out, w, meta, pixels, 96)
        section(out, w, meta, pixels[:1], 224)


def check(path, weights):
    w, meta = read_safetensors(weights)
    lines = iter(open(path).read().split("\n"))
    worst, side, got = 0.0, 0, {}
    for line in lines:
        key, *numbers = line.split() or [""]
        if key == "image":
            side = int(numbers[0])
        elif key == "pixels":
            n, s = map(int, numbers)
            rows = [np.frombuffer(bytes.fromhex(next(lines)), np.uint8) for _ in range(n)]
            pixels = np.stack(rows).reshape(n, 3, s, s)
            got["features"], got["logits"] = forward(w, heads_of(w, meta), prepare(pixels, side))
        elif key in got:
            want = torch.tensor([[float(v) for v in next(lines).split()] for _ in range(n)])
            worst = max(worst, float((got[key] - want).abs().max()))
    print(f"{path}: largest difference {worst:.2g}")
    return 0 if worst <= 1e-4 else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = p.add_subparsers(dest="verb", required=True)
    a = sub.add_parser("write")
    a.add_argument("folder")
    a.add_argument("--real")
    a.add_argument("--cifar")
    a = sub.add_parser("check")
    a.add_argument("gold")
    a.add_argument("weights")
    args = p.parse_args()
    torch.set_grad_enabled(False)
    if args.verb == "write":
        return write(args.folder, args.real, args.cifar)
    return check(args.gold, args.weights)


if __name__ == "__main__":
    sys.exit(main())
