#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Does shellcheck find anything in the shell scripts?

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
command -v shellcheck >/dev/null || { echo 'shellcheck is not installed'; exit 77; }

mapfile -t scripts < <(grep -rlE --exclude-dir='build*' --exclude-dir=.git '^#!/bin/(ba)?sh' . | sort)
echo "${#scripts[@]} scripts"
shellcheck --external-sources --severity=warning "${scripts[@]}"
