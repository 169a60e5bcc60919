#!/usr/bin/env python3
"""Reads a TensorBoard event file: every byte is checked, and each event is printed without its time.

usage: tfevents.py FILE

Written from TensorFlow's record_writer.h, event.proto and summary.proto, apart from the program."""
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def unmasked(stored):
    rotated = stored - 0xA282EAD8 & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def records(data):
    while data:
        n, crc_n = struct.unpack_from("<QI", data)
        assert crc32c(data[:8]) == unmasked(crc_n), "checksum of a length"
        body, (crc_body,) = data[12 : 12 + n], struct.unpack_from("<I", data, 12 + n)
        assert len(body) == n and crc32c(body) == unmasked(crc_body), "checksum of the data"
        yield body
        data = data[16 + n :]


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """{field number: value} of a protobuf message; repeated fields do not occur here."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            n, at = varint(data, at)
            value, at = data[at : at + n], at + n
            assert len(value) == n, "length of a field"
        else:
            form, n = {1: ("<d", 8), 5: ("<f", 4)}[key & 7]
            (value,), at = struct.unpack_from(form, data, at), at + n
        assert key >> 3 not in found, "a field occurs twice"
        found[key >> 3] = value
    return found


last = 0.0
for record in records(open(sys.argv[1], "rb").read()):
    event = fields(record)
    assert event[1] >= last > -1 and event[1] > 1.6e9, "times go backwards"
    last = event[1]
    if 3 in event:
        print(event[3].decode())
    else:
        value = fields(fields(event[5])[1])
        print(event[2], value[1].decode(), "%.6g" % value[2])
