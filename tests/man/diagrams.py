#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns the diagrams of mono-handle-d-wire(7) and mono-handle-d-shm(7) into C that compiles only if they are right.

A comment before each diagram says what it shows:

  .\\" layout STRUCT [type=CONSTANT]   a structure, eight bytes a row: each field at its place, all fields there
  .\\" word NAME?MACRO...              one 64-bit word: NAME>MACRO the macro is its lowest bit, NAME%MACRO the macro is as
                                      wide, NAME=MACRO the macro is this one bit
  .\\" hex                             a New and its reply, byte for byte

usage: diagrams.py PAGE... >FILE.c
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CELL = 8        # columns a byte

asserts = []


def must(what, where):
    asserts.append(f'_Static_assert({what}, "{where}");')


def die(text):
    sys.exit(f'diagrams.py: {text}')


def fields_of(struct):
    """Names of the fields but for padding, from the header."""
    for header in ('src/proto/wire.h', 'src/proto/shm-layout.h'):
        match = re.search(rf'^struct {struct} {{\n(.*?)^}};', (ROOT / header).read_text(), re.M | re.S)
        if match:
            body = re.sub(r'/\*.*?\*/', '', match.group(1), flags=re.S)
            names = re.findall(r'(\w+)(?:\[[^]]*\])?;', body)
            return [n for n in names if not n.startswith('_pad')]
    die(f'there is no struct {struct}')


def rows_of(lines, where):
    """(offset, [(text, bytes)]) for each row."""
    rows = []
    for line in lines:
        match = re.match(r' *(\d+) (\|.*\|)$', line)
        if match:
            edges = [i for i, c in enumerate(match.group(2)) if c == '|']
            if edges[-1] != 8 * CELL or any(e % CELL for e in edges):
                die(f'{where}: crooked row: {line}')
            rows.append((int(match.group(1)),
                         [(match.group(2)[a + 1:b].strip(), (b - a) // CELL) for a, b in zip(edges, edges[1:])]))
        elif not re.match(r'(     [+:]| *0( +\d)+$)', line):
            die(f'{where}: what is this: {line}')
    return rows


def check_layout(lines, spec, where):
    struct, *options = spec
    options = dict(o.split('=') for o in options)
    shown = []
    at = 0

    wire = struct.startswith('mh_wire_') and struct != 'mh_wire_header'
    for offset, cells in rows_of(lines, where):
        if offset != at:
            die(f'{where}: {struct}: a row at {offset} that should be at {at}')
        for text, size in cells:
            several = re.search(r' \((\d+) bytes\)$', text)
            if several:
                text, size = text[:several.start()], int(several.group(1))
            name, _, value = text.partition(' = ')
            name = re.sub(r' \(.*\)$', '', name)
            if name != '0':
                member = f'header.{name}' if wire and at < 16 else name
                shown.append(member)
                must(f'offsetof(struct {struct}, {member}) == {at}', f'{where}: {struct}.{member} is not at {at}')
                must(f'sizeof(((struct {struct} *)0)->{member}) == {size}',
                     f'{where}: {struct}.{member} has not {size} bytes')
                if value and member == 'header.type':
                    must(f'{value} == {options["type"]}', f'{where}: {struct}: {options["type"]} is not {value}')
                if value and member == 'header.size':
                    must(f'{value} == sizeof(struct {struct})', f'{where}: {struct} has not {value} bytes')
            at += size

    must(f'sizeof(struct {struct}) == {at}', f'{where}: {struct} has not {at} bytes')
    wanted = fields_of(struct)
    if wire:
        wanted = ['header.type', 'header.size', 'header.seq'] + [n for n in wanted if n != 'header']
    if shown != wanted:
        die(f'{where}: {struct}: shows {shown}, has {wanted}')


def check_word(lines, spec, where):
    numbers, _, cells, _ = (line.ljust(80) for line in lines)
    edges = [i for i, c in enumerate(cells) if c == '|']
    bits = {}
    above = 64
    for a, b in zip(edges, edges[1:]):
        found = [int(n) for n in numbers[a:b].split()]
        high, low = found[0], found[-1]
        name = cells[a + 1:b].strip()
        if high != above - 1 or low > high:
            die(f'{where}: bits of {name} do not follow those before')
        bits[name] = (high, low)
        above = low
    if above != 0:
        die(f'{where}: the word ends at bit {above}')
    for rule in spec:
        name, kind, macro = re.match(r'(\w+)([>%=])(\w+)', rule).groups()
        high, low = bits[name]
        if kind == '>':
            must(f'{macro} == {low}', f'{where}: {macro} is not {low}')
        elif kind == '%':
            must(f'{macro} == (UINT64_C(1) << {high - low + 1}) - 1', f'{where}: {macro} is not {high - low + 1} bits wide')
        else:
            must(f'{macro} == UINT64_C(1) << {low} && {high} == {low}', f'{where}: {macro} is not bit {low}')


def check_hex(lines, where):
    packets = []
    for line in lines:
        name, offset, data = re.match(r'(\w+)? *(\d+)  (.*)$', line).groups()
        if name:
            packets.append(b'')
        if int(offset) != len(packets[-1]):
            die(f'{where}: wrong offset: {line}')
        packets[-1] += bytes.fromhex(data)

    def number(packet, struct, member, value):
        must(f'offsetof(struct {struct}, {member}) + sizeof(((struct {struct} *)0)->{member}) <= {len(packet)}', where)
        # Where the compiler says that the member is, these bytes must be its value.
        for offset in range(len(packet)):
            for size in (2, 4, 8):
                if packet[offset:offset + size] != value.to_bytes(size, 'little'):
                    must(f'offsetof(struct {struct}, {member}) != {offset} || '
                         f'sizeof(((struct {struct} *)0)->{member}) != {size}', f'{where}: {member} is not {value}')

    for packet, struct in zip(packets, ('mh_wire_new', 'mh_wire_handle')):
        must(f'sizeof(struct {struct}) == {len(packet)}', f'{where}: {struct} has not {len(packet)} bytes')
        number(packet, struct, 'header.size', len(packet))
        number(packet, struct, 'header.seq', 1)
        number(packet, struct, 'header.type', 1)
        number(packet, struct, 'type', 5)


def main():
    seen = 0
    for page in sys.argv[1:]:
        lines = iter(pathlib.Path(page).read_text().splitlines())
        for n, line in enumerate(lines, 1):
            match = re.match(r'\.\\" (layout|word|hex)\b ?(.*)$', line)
            if not match:
                continue
            where = f'{pathlib.Path(page).name}, diagram {seen + 1}'
            if next(lines) != '.EX':
                die(f'{where}: no .EX after the comment')
            body = []
            for line in lines:
                if line == '.EE':
                    break
                body.append(line)
            seen += 1
            spec = match.group(2).split()
            if match.group(1) == 'layout':
                check_layout(body, spec, where)
            elif match.group(1) == 'word':
                check_word(body, spec, where)
            else:
                check_hex(body, where)
    if not seen:
        die('no diagrams')
    print('#include <stddef.h>\n#include <stdint.h>\n#include "proto/shm-layout.h"\n#include "proto/wire.h"')
    print('\n'.join(asserts))
    print(f'{seen} diagrams, {len(asserts)} statements', file=sys.stderr)


main()
