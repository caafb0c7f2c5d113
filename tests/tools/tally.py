#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adds up what the phases of './dev test' found.

The argument is a directory with one meson test log (NAME.json, one JSON object a line) for each phase that ran, a file
'broken' with the names of those that did not get that far, and NAME.reports/ with what sanitizers wrote. A program that
speaks TAP counts with each of its tests, any other as one. The last line is 'N passed, N failed, N skipped'; before it
stand the reason of every skip and the output of everything that failed. Exits with 1 if something failed, or if nothing
ran at all.
"""

import json
import pathlib
import re
import sys

PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$", re.IGNORECASE | re.MULTILINE)
LINE = re.compile(r"^(not )?ok\b\s*\d*\s*(?:- )?([^#\n]*)(?:#\s*(skip|todo)\S*\s*(.*))?$", re.IGNORECASE | re.MULTILINE)
SHOWN_LINES = 80


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []  # (what, output)
        self.skipped = []  # (what, why)

    def add_tap(self, what, test):
        output = test.get("stdout", "")
        plan = PLAN.search(output)
        seen = failed = 0
        for no, name, directive, why in LINE.findall(output):
            seen += 1
            if directive.lower() == "skip":
                self.skipped.append((f"{what}: {name.strip()}", why.strip()))
            elif no:
                failed += 1
                self.failed.append((f"{what}: {name.strip()}", None))
            else:
                self.passed += 1

        if plan.group(1) == "0":
            self.skipped.append((what, plan.group(2) or "no reason given"))
        missing = int(plan.group(1)) - seen
        if missing > 0:
            self.failed.append((f"{what}: {missing} of its tests did not report", None))
            failed += 1
        if test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and not failed:
            self.failed.append((f"{what}: {test['result']}", None))
            failed += 1
        if failed:
            self.failed.append((None, output_of(test)))

    def add_plain(self, what, test):
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            self.passed += 1
        elif test["result"] == "SKIP":
            lines = output_of(test).strip().splitlines()
            self.skipped.append((what, lines[-1] if lines else "no reason given"))
        else:
            self.failed.append((f"{what}: {test['result']}", output_of(test)))

    def add_phase(self, phase, log):
        with open(log, encoding="utf-8", errors="replace") as lines:
            tests = [json.loads(line) for line in lines]
        for test in tests:
            what = f"{phase}: {test['name'].split(' / ')[-1]}"
            if PLAN.search(test.get("stdout") or ""):
                self.add_tap(what, test)
            else:
                self.add_plain(what, test)
        if not tests:
            self.failed.append((f"{phase}: no test ran", None))

    def add_reports(self, phase, folder):
        for report in sorted(folder.iterdir()):
            text = report.read_text(encoding="utf-8", errors="replace")
            self.failed.append((f"{phase}: report {report.name}", text))


def output_of(test):
    return (test.get("stdout") or "") + (test.get("stderr") or "")


def tally(results):
    t = Tally()
    for log in sorted(results.glob("*.json")):
        t.add_phase(log.stem, log)
    for folder in sorted(results.glob("*.reports")):
        t.add_reports(folder.stem, folder)
    broken = results / "broken"
    if broken.exists():
        for phase in broken.read_text(encoding="utf-8").splitlines():
            t.failed.append((f"{phase}: did not get as far as running tests", None))
    return t


def main():
    t = tally(pathlib.Path(sys.argv[1]))

    for what, why in t.skipped:
        print(f"skipped  {what}: {why}")
    for what, output in t.failed:
        if what:
            print(f"FAILED   {what}")
        for line in (output or "").strip().splitlines()[-SHOWN_LINES:]:
            print(f"    {line}")

    failed = sum(1 for what, _ in t.failed if what)
    if t.passed + failed == 0:
        failed = 1
        print("FAILED   nothing ran")
    print(f"{t.passed} passed, {failed} failed, {len(t.skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
