#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are the table in README.md and the picture beside the results what plot.py makes of them? Who puts new results there
# has to make both again:
#
#   tests/bench/plot.py tests/bench/results.json --svg tests/bench/results.svg --markdown    (the table goes to README.md)

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
results=tests/bench/results.json
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT

tests/bench/plot.py $results --svg "$temporary/svg" --markdown >"$temporary/table" || exit 1
sed -n '/^| key | ours /,/^$/{/^|/p}' README.md >"$temporary/readme"

failed=0
[ -s "$temporary/readme" ] || { echo 'failed: there is no table in README.md'; failed=1; }
diff -u --label README.md --label "what plot.py makes of $results" "$temporary/readme" "$temporary/table" || failed=1
cmp "$temporary/svg" tests/bench/results.svg || failed=1
exit $failed
