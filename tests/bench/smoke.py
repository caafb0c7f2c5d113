#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# smoke.py BENCH PLOT: does the benchmark run, is what it writes well-formed, and is each key there or said to be
# skipped?
# The numbers of so short a run mean nothing, and are not looked at.

import json
import math
import os
import subprocess
import sys
import tempfile
import xml.dom.minidom

FIELDS = {'key', 'ratio', 'limit', 'median_ns', 'spread', 'peer', 'peer_median_ns'}
LIMITS = {
    'new_close': 0.75, 'first_open_close': 0.55, 'held_open_close': 0.45, 'scratch_16': 1.75, 'scratch_64': 1.75,
    'scratch_256': 1.75, 'scratch_1024': 1.75, 'scratch_4096': 0.9, 'scratch_batch_256': 1.4, 'scratch_pass_64': 0.7,
    'scratch_64_boost': 0.1, 'new_close_wire': 0.001, 'wire': 1.15, 'reap': 10, 'restart': 2, 'idle_rss_kib': 4096,
}

problems = []


def expect(condition, text):
    if not condition:
        problems.append(text)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def check_entry(entry):
    key = entry['key']
    expect(FIELDS <= set(entry), f'{key}: lacks {FIELDS - set(entry)}')
    expect(entry['limit'] == LIMITS.get(key), f'{key}: the limit is {entry["limit"]}')
    expect(is_number(entry['ratio']), f'{key}: the ratio is {entry["ratio"]}')
    if key == 'idle_rss_kib':
        expect(entry['median_ns'] is None, f'{key} is a time')
        expect(1000 < entry['ratio'] < 100000, f'{key} is {entry["ratio"]} KiB')
        return
    expect(is_number(entry['median_ns']) and is_number(entry['peer_median_ns']), f'{key}: times are missing')
    expect(bool(entry['peer']), f'{key}: against what?')


def check_plot(plot, results, directory):
    svg = os.path.join(directory, 'plot.svg')
    subprocess.run([sys.executable, plot, results, '--svg', svg], check=True)
    expect(xml.dom.minidom.parse(svg).documentElement.tagName == 'svg', 'the plot is no SVG')
    table = subprocess.run([sys.executable, plot, results, '--markdown'], check=True, stdout=subprocess.PIPE,
                           text=True).stdout
    expect('| `new_close` |' in table, 'the table in Markdown lacks new_close')


def check_skipped_limit(bench, directory):
    """What cannot be loaded is skipped; for --check that is a failure, and named."""
    for name in ('libmimalloc.so', 'libmimalloc.so.2', 'libmimalloc.so.3'):
        with open(os.path.join(directory, name), 'w', encoding='utf-8'):
            pass
    environment = dict(os.environ, LD_LIBRARY_PATH=directory)
    for option, code in ((), 0), (('--check',), 1):
        done = subprocess.run([bench, '--quick', '--only', 'scratch_16', *option], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=environment, check=False)
        expect('scratch_16: skipped: ' in done.stdout, 'mimalloc is there although it cannot be loaded')
        expect(done.returncode == code, f'skipped, {option}: exit code {done.returncode}')
        expect(('scratch_16: has a limit' in done.stdout) == bool(option), f'skipped, {option}: {done.stdout}')


def main():
    bench, plot = sys.argv[1:]
    listed = [line.split()[0] for line in
              subprocess.run([bench, '--list'], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()]
    expect(set(LIMITS) <= set(listed), f'{set(LIMITS) - set(listed)} are not measured')

    with tempfile.TemporaryDirectory() as directory:
        results = os.path.join(directory, 'bench.json')
        done = subprocess.run([bench, '--quick', '--json', results], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode != 0:
            print('\n'.join(line for line in done.stdout.splitlines() if not line.startswith('pass ')))
            print(f'failed: exit code {done.returncode}')
            return 1
        with open(results, encoding='utf-8') as f:
            entries = json.load(f)
        for entry in entries:
            check_entry(entry)
        keys = [entry['key'] for entry in entries]
        expect(len(keys) == len(set(keys)), 'a key is there twice')
        for key in listed:
            expect(key in keys or f'{key}: skipped: ' in done.stdout, f'{key} is missing, and nothing is said of it')
        for key in keys:
            expect(key in listed, f'{key} is not in the list')
        check_plot(plot, results, directory)
        check_skipped_limit(bench, directory)

    for problem in problems:
        print(f'failed: {problem}')
    return 1 if problems else 0


sys.exit(main())
