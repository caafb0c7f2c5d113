#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Does each atomic access that is weaker than sequentially consistent say what it pairs with, or why that is enough? It does in a
# comment that uses one of the words below: on its line, above it in the same function or on top of that, or in the essay
# at the top of the file, in a paragraph that begins "Relaxed:" or "Acquire:" and is about all of that order.

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1

mapfile -t files < <(find src/shm src/lib src/daemon -name '*.[ch]' | sort)
awk '
function words(s) {
        return tolower(s) ~ /relaxed|acquire|release[^_]|pairs? with|order|barrier|nobody else|only this|hint|a flag|a count/
}

FNR == 1 { said = ""; in_comment = 0; essay = ""; top = 1; from = 0; open = 0 }

{
        line = $0
        comment = ""
        if (in_comment || match(line, /\/\*/)) {
                comment = in_comment ? line : substr(line, RSTART)
                if (!in_comment) {
                        code = substr(line, 1, RSTART - 1)
                        if (code ~ /^[ \t]*$/ && !open)
                                said = "" # above a function: the last one counts
                } else
                        code = ""
                in_comment = comment !~ /\*\//
                said = said " " comment
                if (top)
                        essay = essay " " comment
        } else
                code = line
        if (top && code !~ /^[ \t]*$/ && code !~ /^#/)
                top = 0
        if (code ~ /^[{]/ || code ~ /^#define.*\\$/)
                open = 1
        weak = match(code, /(load|store|cas|exchange|fetch_[a-z]+)_(relaxed|acquire|release|acq_rel)\(|__ATOMIC_(RELAXED|ACQUIRE|RELEASE|ACQ_REL)/)
        if (weak) {
                n++
                about = code ~ /acq|rel(ease|\()|ACQ|RELEASE/ && code !~ /relaxed|RELAXED/ ? "acquire:" : "relaxed:"
                if (line !~ /\/\*/ && !words(said) && index(tolower(essay), about) == 0) {
                        print FILENAME ":" FNR ": " $0
                        bad++
                }
        }
        if (code ~ /^[}]/ || (!open && code ~ /;[ \t]*$/)) {
                open = 0
                said = ""
        }
}

END {
        print n " accesses"
        exit bad > 0
}' "${files[@]}"
