#!/usr/bin/env bash
# Ask a question about every picture in a folder, and print one line of JSON for each.
#
#   ask-each.sh [FOLDER] [arguments of vipcli ask: a question, marks, --model …]
#
# Without a folder, the script uses the pictures beside it. A picture that fails is reported on standard
# error, and the script goes on with the next one.
set -euo pipefail
shopt -s nullglob nocaseglob

folder=$(dirname -- "${BASH_SOURCE[0]}")
if (($# > 0)) && [[ $1 != -* ]]; then
    folder=$1
    shift
fi
if [[ ! -d $folder ]]; then
    echo "There is no folder $folder. Put the question after the folder." >&2
    exit 2
fi

total=0
failed=0
for picture in "$folder"/*.{jpg,jpeg,png,webp}; do
    # Skip masks, which are not pictures to ask about.
    [[ $picture == *-mask.* ]] && continue
    total=$((total + 1))
    code=0
    # On a terminal, JSON is spread over several lines; a pipe keeps it on one.
    vipcli ask "$picture" "$@" --json --quiet </dev/null | cat || code=$?
    if ((code > 128)); then
        exit "$code" # interrupted, or the output was closed
    elif ((code != 0)); then
        echo "The picture was $picture." >&2
        failed=$((failed + 1))
    fi
done

if ((total == 0)); then
    echo "There are no pictures in $folder." >&2
    exit 1
fi
if ((failed > 0)); then
    echo "$failed of $total pictures failed." >&2
    exit 1
fi
