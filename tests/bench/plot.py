#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# plot.py BENCH.JSON [--svg FILE] [--markdown]: what './dev bench --json' wrote, as a picture, as a table, or both.

import argparse
import json
import math
import re
import sys
from xml.sax.saxutils import escape

WIDTH = 960
LEFT, RIGHT = 190, 40
BAR, GAP = 15, 9
FONT = 'font-family="sans-serif" font-size="12"'
OURS, PEER, OVER, GRID, TEXT = '#2a6f97', '#b0b0b0', '#c1440e', '#e4e4e4', '#333333'

GROWTH = [
    ('grow_threads_new_close_', 'new + close: threads'),
    ('grow_processes_new_close_', 'new + close: processes'),
    ('grow_threads_scratch_64_', 'scratch + free: threads'),
    ('grow_processes_scratch_64_', 'scratch + free: processes'),
    ('grow_live_new_close_', 'new + close: live handles'),
    ('grow_live_held_open_close_', 'open + close, held: live handles'),
    ('grow_clients_new_close_', 'new + close: clients'),
    ('grow_clients_first_open_close_', "open + close, another's: clients"),
]
# Told by its number alone.
PLAIN = {'idle_rss_kib'}


def is_growth(key):
    return key.startswith(('grow_', 'same_handle_'))


def time(nsec):
    for unit, size in (('ns', 1), ('µs', 1e3), ('ms', 1e6), ('s', 1e9)):
        if nsec < 1000 * size or unit == 's':
            value = nsec / size
            return f'{value:.1f} {unit}' if value < 100 else f'{value:.0f} {unit}'
    return ''


def number(value):
    if value >= 100:
        return f'{value:,.0f}'
    return f'{value:.2g}' if value < 0.1 else f'{value:.2f}'


# ---------------------------------------------------------------------------------------------------------------- table


def markdown(results):
    print('| key | ours | peer | | ratio | at most | spread |')
    print('|---|--:|--:|---|--:|--:|--:|')
    for r in results:
        limit = '' if r['limit'] is None else number(r['limit'])
        if r['limit'] is not None and r['ratio'] > r['limit']:
            limit += ' (over)'
        if r['key'] in PLAIN:
            print(f'| `{r["key"]}` | {number(r["ratio"])} KiB | | | | {limit} | |')
        else:
            print(f'| `{r["key"]}` | {time(r["median_ns"])} | {time(r["peer_median_ns"])} | {r["peer"]} '
                  f'| {number(r["ratio"])} | {limit} | ±{r["spread"]:.1f} % |')


# ---------------------------------------------------------------------------------------------------------------- picture


class Picture:
    def __init__(self):
        self.parts = []
        self.height = 0

    def line(self, x1, y1, x2, y2, colour, width=1.0, dash=''):
        dashes = f' stroke-dasharray="{dash}"' if dash else ''
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
                          f'stroke-width="{width}"{dashes}/>')

    def rect(self, x, y, w, h, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0.5):.1f}" height="{h:.1f}" fill="{colour}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def text(self, x, y, text, anchor='start', colour=TEXT, bold=False):
        weight = ' font-weight="bold"' if bold else ''
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {FONT}{weight}>'
                          f'{escape(text)}</text>')

    def write(self, path):
        with open(path, 'w', encoding='utf-8') as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height:.0f}" '
                    f'viewBox="0 0 {WIDTH} {self.height:.0f}">\n')
            f.write(f'<rect width="{WIDTH}" height="{self.height:.0f}" fill="#ffffff"/>\n')
            f.write('\n'.join(self.parts))
            f.write('\n</svg>\n')


def decades(low, high):
    return [10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def plain_power(value):
    return f'{value:g}' if 1e-4 <= value <= 1e4 else f'1e{round(math.log10(value))}'


def bars(picture, results):
    rows = [r for r in results if not is_growth(r['key']) and r['key'] not in PLAIN]
    y = 28
    picture.text(16, y, 'Time against the peer (left of 1 is faster); the mark is the limit. Ratio, our time, peer', bold=True)
    top = y + 16
    values = [v for r in rows for v in (r['ratio'], r['limit']) if v]
    ticks = decades(min(values + [0.5]), max(values + [2]))

    def x_of(value):
        span = math.log10(ticks[-1] / ticks[0])
        return LEFT + math.log10(value / ticks[0]) / span * (WIDTH - LEFT - RIGHT - 240)

    bottom = top + len(rows) * (BAR + GAP) + 4
    for tick in ticks:
        picture.line(x_of(tick), top, x_of(tick), bottom, PEER if tick == 1 else GRID, 1.5 if tick == 1 else 1)
        picture.text(x_of(tick), bottom + 16, plain_power(tick), 'middle')
    y = top + 4
    for r in rows:
        over = r['limit'] is not None and r['ratio'] > r['limit']
        start, end = sorted((x_of(1), x_of(r['ratio'])))
        picture.rect(start, y, end - start, BAR, OVER if over else OURS)
        if r['limit'] is not None:
            picture.line(x_of(r['limit']), y - 3, x_of(r['limit']), y + BAR + 3, '#000000', 2)
        picture.text(LEFT - 8, y + BAR - 3, r['key'], 'end')
        picture.text(WIDTH - RIGHT - 178, y + BAR - 3, number(r['ratio']), 'end', bold=True)
        picture.text(WIDTH - RIGHT - 114, y + BAR - 3, time(r['median_ns']), 'end')
        picture.text(WIDTH - RIGHT - 106, y + BAR - 3, r['peer'], colour='#777777')
        y += BAR + GAP
    picture.height = bottom + 30


def points_of(results, prefix):
    points = []
    for r in results:
        found = re.fullmatch(re.escape(prefix) + r'(\d+)', r['key'])
        if found:
            points.append((int(found.group(1)), r['median_ns'], r['peer_median_ns'], r['peer']))
    return sorted(points)


def panel(picture, x, y, w, h, title, points):
    values = [v for p in points for v in p[1:3]]
    ticks = decades(min(values), max(values) * 1.01)
    if len(ticks) < 2:
        ticks.append(ticks[-1] * 10)

    def y_of(value):
        return y + h - math.log10(value / ticks[0]) / math.log10(ticks[-1] / ticks[0]) * h

    def x_of(i):
        return x + 12 + i * (w - 24) / max(len(points) - 1, 1)

    picture.text(x, y - 10, title, bold=True)
    for tick in ticks:
        picture.line(x, y_of(tick), x + w, y_of(tick), GRID)
        picture.text(x - 6, y_of(tick) + 4, time(tick).replace('.0', ''), 'end')
    for i, p in enumerate(points):
        picture.text(x_of(i), y + h + 16, f'{p[0]:,}', 'middle')
    for column, colour in ((2, PEER), (1, OURS)):
        for i, p in enumerate(points):
            if i > 0:
                picture.line(x_of(i - 1), y_of(points[i - 1][column]), x_of(i), y_of(p[column]), colour, 2)
            picture.dot(x_of(i), y_of(p[column]), colour)
    picture.text(x + w, y + h + 32, f'grey: {points[0][3]}', 'end', '#777777')


def growth(picture, results):
    series = [(title, points_of(results, prefix)) for prefix, title in GROWTH]
    series = [(title, points) for title, points in series if len(points) > 1]
    if not series:
        return
    picture.text(16, picture.height + 24, 'Time for one pair, with more of everything (of a core, where several run)',
                 bold=True)
    y = picture.height + 66
    w, h = 330, 110
    for i, (title, points) in enumerate(series):
        panel(picture, 70 + i % 2 * (w + 80), y, w, h, title, points)
        if i % 2 == 1 or i == len(series) - 1:
            y += h + 70
    picture.height = y - 20


def main():
    parser = argparse.ArgumentParser(description='Shows what ./dev bench --json wrote')
    parser.add_argument('json')
    parser.add_argument('--svg', metavar='FILE', help='write a picture')
    parser.add_argument('--markdown', action='store_true', help='print a table')
    parser.add_argument('--growth', action='store_true', help='with what grows, in the table too')
    arguments = parser.parse_args()
    with open(arguments.json, encoding='utf-8') as f:
        results = json.load(f)

    if arguments.markdown:
        markdown([r for r in results if arguments.growth or not is_growth(r['key'])])
    if arguments.svg:
        picture = Picture()
        bars(picture, results)
        growth(picture, results)
        picture.write(arguments.svg)
    if not arguments.markdown and not arguments.svg:
        parser.error('nothing to do: --svg or --markdown')
    return 0


sys.exit(main())
