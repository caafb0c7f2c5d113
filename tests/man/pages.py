#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the man pages say, compared with what they speak of.

- every page is listed in man/meson.build, so that it is installed;
- what one refers to is there, and SEE ALSO names each page once, and not itself;
- each exported function has a page of its name, which names it in NAME, shows its prototype as the header has it, and
  explains each error that the header's comment lists;
- the other way round, no page speaks of a function that is not exported;
- the drop-in that mono_handle_d(8) shows is the one that is installed.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAN = ROOT / 'man'
# Pages of the system that ours refer to; a name that is not among them is most likely a slip.
FOREIGN = set('''
    execve(2) fallocate(2) flock(2) fork(2) futex(2) membarrier(2) pidfd_open(2) pread(2) setrlimit(2)
    closefrom(3) errno(3) free(3) malloc(3) sd_listen_fds(3) shm_open(3)
    journalctl(1) lsipc(1) systemctl(1) systemd-socket-activate(1)
    logind.conf(5) systemd.exec(5) systemd.resource-control(5) systemd.service(5) systemd.socket(5) systemd.unit(5) tmpfs(5)
    pid_namespaces(7) shm_overview(7) unix(7) user_namespaces(7)
    systemd-logind.service(8)
'''.split())

findings = []


def finding(where, text):
    findings.append(f'{where}: {text}')


def plain(text):
    """Text without the escapes that our pages use."""
    return (text.replace(r'\-', '-').replace(r'\(aq', "'").replace(r'\(lq', '"').replace(r'\(rq', '"')
            .replace(r'\(en', '-').replace(r'\&', '').replace(r'\e', '\\'))


def arguments(line):
    """The arguments of a macro line, quotes taken off."""
    return [plain(a or b) for a, b in re.findall(r'"([^"]*)"|(\S+)', line.split(' ', 1)[1])]


def section_of(page, name):
    match = re.search(rf'^\.SH "?{name}"?\n(.*?)(?=^\.SH |\Z)', page, re.M | re.S)
    return match.group(1) if match else None


def check_listing(pages):
    listed = re.findall(r"'([^']+\.\d)'", (MAN / 'meson.build').read_text())
    for name in sorted(set(pages) - set(listed)):
        finding(name, 'not listed in man/meson.build')
    for name in sorted(set(listed) - set(pages)):
        finding('meson.build', f'lists {name}, which is not there')


def check_references(name, page, pages):
    for line in page.splitlines():
        if not re.match(r'\.(BR|RB) ', line):
            continue
        # ".BR name (3)," and ".RB ( name (3))"
        for what, section in re.findall(r'([A-Za-z_][\w.-]*) ?\((\d)\)', plain(line)):
            if f'{what}.{section}' not in pages and f'{what}({section})' not in FOREIGN:
                finding(name, f'refers to {what}({section}), which is not there')

    also = section_of(page, 'SEE ALSO')
    if also is None:
        finding(name, 'has no SEE ALSO')
        return
    found = [tuple(reversed(m)) for m in re.findall(r'^\.BR (\S+) \((\d)\)', plain(also), re.M)]
    own = name.rsplit('.', 1)
    if (own[1], own[0]) in found:
        finding(name, 'refers to itself in SEE ALSO')
    if len(set(found)) != len(found):
        finding(name, 'SEE ALSO names a page twice')


def prototypes(header):
    """name -> (prototype in one line, errors in the comment above)"""
    found = {}
    comment = ''
    for part in re.findall(r'/\*.*?\*/|^[a-z][^;{}/]*\([^;{}]*\);', header, re.S | re.M):
        if part.startswith('/*'):
            comment = part
            continue
        proto = ' '.join(part.split())
        found[re.search(r'(\w+)\(', proto).group(1)] = (proto, set(re.findall(r'-(E[A-Z]+)', comment)))
        comment = ''
    return found


def shown_prototypes(page):
    synopsis = section_of(page, 'SYNOPSIS') or ''
    text = ''
    for line in synopsis.splitlines():
        if line.startswith('.BI '):
            text += ''.join(arguments(line)) + '\n'
        elif line.startswith('.B '):
            text += plain(line[3:]).strip('"') + '\n'
    return {' '.join(p.split()) + ';' for p in re.sub(r'#include.*', '', text).split(';') if p.strip()}


def check_functions(pages):
    api = prototypes((ROOT / 'include/monohandle.h').read_text())
    sym = ROOT / 'src/lib/libmonohandle.sym'
    exported = set(re.findall(r'\b(mh_\w+);', sym.read_text())) if sym.exists() else set(api)

    for name in sorted(exported ^ set(api)):
        finding(name, 'is not both exported and declared')
    if 'monohandle.3' not in pages:
        finding('monohandle.3', 'is not there')

    for name in sorted(exported & set(api)):
        file = f'{name}.3'
        if file not in pages:
            finding(name, f'has no page {file}')
            continue
        page = pages[file]
        target = re.match(r'\.so man3/(\S+)', page)
        if target:
            page = pages.get(target.group(1), '')
        if not re.search(rf'\b{name}\b', (section_of(page, 'NAME') or '').split(r'\-')[0]):
            finding(file, f'NAME does not name {name}')
        proto, errors = api[name]
        if proto not in shown_prototypes(page):
            finding(file, f'SYNOPSIS does not show: {proto}')
        told = set(re.findall(r'-(E[A-Z]+)', plain(section_of(page, 'ERRORS') or '')))
        for error in sorted(errors - told):
            finding(file, f'ERRORS does not explain -{error} of {name}')
        for need in ('DESCRIPTION', 'RETURN VALUE', 'SAFETY', 'HISTORY'):
            if section_of(page, need) is None:
                finding(file, f'has no {need}')

    for file, page in pages.items():
        for name in set(re.findall(r'\bmh_\w+', plain(page))) - set(api) - {'mh_client', 'mh_handle', 'mh_scratch'}:
            if not re.match(r'mh_(shm|wire)_', name):
                finding(file, f'speaks of {name}, which is no function')


def check_drop_in(pages):
    drop_in = ROOT / 'units/private-users.conf'
    shown = plain(pages.get('mono_handle_d.8', '')).splitlines()
    for line in drop_in.read_text().splitlines():
        if line and not line.startswith('#') and line not in shown:
            finding('mono_handle_d.8', f'does not show this line of {drop_in.name}: {line}')


def main():
    pages = {p.name: p.read_text() for p in sorted(MAN.glob('*.[1-8]'))}
    check_listing(pages)
    for name, page in pages.items():
        target = re.match(r'\.so man(\d)/(\S+)', page)
        if target:
            if target.group(2) not in pages or target.group(1) != target.group(2)[-1]:
                finding(name, f'leads to {target.group(2)}, which is not there')
            continue
        title = re.search(r'^\.TH (\S+) (\d) ', page, re.M)
        if not title or f'{plain(title.group(1)).lower()}.{title.group(2)}' != name.lower():
            finding(name, '.TH does not name this page')
        check_references(name, page, pages)
    check_functions(pages)
    check_drop_in(pages)

    for text in findings:
        print(text)
    print(f'{len(pages)} pages, {len(findings)} findings')
    return 1 if findings else 0


sys.exit(main())
