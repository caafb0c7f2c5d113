#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does a page tell the options that its program tells with --help, and no others?

usage: help.py PROGRAM PAGE [MESSAGES.H]

Compared are the options, what stands for their values, defaults and environment variables, commands and columns, where
--help gives them; and with the header of message ids, that each of those is in the page with its name.
"""

import pathlib
import re
import subprocess
import sys

findings = []


def plain(text):
    text = re.sub(r'\\f[A-Z]', '', text)
    return text.replace(r'\-', '-').replace(r'\&', '')


def help_of(program):
    return subprocess.run([program, '--help'], check=True, capture_output=True, text=True, timeout=30).stdout


def told_by_program(text):
    """name -> the lines about it"""
    blocks = {}
    current = []
    for line in text.splitlines():
        match = re.match(r'  +(?:-\w, +)?--([a-z][a-z-]*)\b(.*)', line)
        if match:
            current = blocks.setdefault(match.group(1), [])
            current.append(match.group(2))
        elif line.startswith('   '):
            current.append(line.strip())
        else:
            current = []
    return {name: '\n'.join(lines) for name, lines in blocks.items()}


def columns_by_program(text):
    """command -> [(shown by default, column)]"""
    found = {}
    for match in re.finditer(r'^Columns of (\w+).*\n((?:[* ] [A-Z]+ .*\n)+)', text, re.M):
        found[match.group(1)] = re.findall(r'^([* ]) ([A-Z]+) ', match.group(2), re.M)
    return found


def columns_by_page(page):
    found = {}
    for part in re.split(r'^\.S[HS] ', page, flags=re.M)[1:]:
        columns = re.findall(r'^([* ]) \\fB([A-Z]+)\\fP', part, re.M)
        if columns:
            found[part.splitlines()[0]] = columns
    return found


def told_by_page(page):
    match = re.search(r'^\.SH OPTIONS\n(.*?)(?=^\.SH |\Z)', page, re.M | re.S)
    if not match:
        sys.exit('the page has no OPTIONS')
    blocks = {}
    for block in re.split(r'^\.TP\n', match.group(1), flags=re.M)[1:]:
        # A heading ends what came before it.
        block = plain(re.split(r'^\.SS ', block, flags=re.M)[0])
        for name in re.findall(r'--([a-z][a-z-]*)', block.splitlines()[0]):
            blocks[name] = block
    return blocks


def squeeze(text):
    """A page's text without macros and spaces, to look for a piece of it."""
    return re.sub(r'\s+', ' ', re.sub(r'^\.[A-Z]+ ', '', text, flags=re.M)).replace('"', '')


def main():
    program, page_path, *messages = sys.argv[1:]
    page = pathlib.Path(page_path).read_text()
    text = help_of(program)
    program_blocks, page_blocks = told_by_program(text), told_by_page(page)
    if not program_blocks:
        sys.exit(f'{program} --help tells no options')

    for name in sorted(set(program_blocks) - set(page_blocks)):
        findings.append(f'--{name} is not in the page')
    for name in sorted(set(page_blocks) - set(program_blocks)):
        findings.append(f'--{name} is in the page only')

    for name in sorted(set(program_blocks) & set(page_blocks)):
        told, block = program_blocks[name], squeeze(page_blocks[name])
        value = re.match(r'[= ]([A-Z|]+)\b', told)
        shown = re.search(rf'--{name}[= ] ?([A-Z| ]+)\b', block)
        if (value and value.group(1)) != (shown and shown.group(1).replace(' ', '')):
            findings.append(f'--{name}: --help and the page disagree about its value')
        default = re.search(r'[Dd]efault: ([^\s).]+)', told)
        if default and not re.search(rf'Default: .*{re.escape(default.group(1))}', block):
            findings.append(f'--{name}: the page does not tell the default, {default.group(1)}')
        variable = re.search(r'\$MONO_[A-Z_]+', told)
        if variable and variable.group(0) not in block:
            findings.append(f'--{name}: the page does not tell {variable.group(0)}')

    commands = re.search(r'^Commands.*:\n((?:  .*\n)+)', text, re.M)
    for name in re.findall(r'^  (\w+)', commands.group(1), re.M) if commands else []:
        if f'\n.SS {name}\n' not in page:
            findings.append(f'the command {name} is not in the page')
    by_program, by_page = columns_by_program(text), columns_by_page(page)
    for name in sorted(set(by_program) | set(by_page)):
        if by_program.get(name) != by_page.get(name):
            findings.append(f'columns of {name}: {by_program.get(name)}, in the page {by_page.get(name)}')

    for header in messages:
        ids = re.findall(r'X\((\w+), "([0-9a-f]{32})"', pathlib.Path(header).read_text())
        if not ids:
            findings.append(f'{header}: no message ids found')
        for name, message_id in ids:
            if not re.search(rf'\b{name}\b.*\n.*{message_id}', page):
                findings.append(f'message {name} ({message_id}) is not in the page')
        for message_id in set(re.findall(r'\b[0-9a-f]{32}\b', page)) - {i for _, i in ids}:
            findings.append(f'{message_id} is in the page only')
        fields = set(re.findall(r'MONO_HANDLE_(?!D_)[A-Z]+', pathlib.Path(header).read_text()))
        for field in sorted(fields - set(re.findall(r'MONO_HANDLE_[A-Z]+', page))):
            findings.append(f'field {field} is not in the page')

    for text in findings:
        print(f'{pathlib.Path(page_path).name}: {text}')
    print(f'{len(program_blocks)} options, {len(findings)} findings')
    return 1 if findings else 0


sys.exit(main())
