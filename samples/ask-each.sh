#!/usr/bin/env bash
# Ask about every picture in a folder: one line of JSON for each, on standard output.
#
#   ask-each.sh [FOLDER] [what vipcli ask takes: a question, marks, --model …]
#
# Without a folder, the pictures beside this script are asked about. A picture that fails is told of
# on standard error, and the rest are asked about all the same.
set -euo pipefail
shopt -s nullglob nocaseglob

folder=$(dirname -- "${BASH_SOURCE[0]}")
if (($# > 0)) && [[ $1 != -* ]]; then
    folder=$1
    shift
fi
if [[ ! -d $folder ]]; then
    echo "There is no folder $folder. A question goes after the folder." >&2
    exit 2
fi

asked=0
failed=0
for picture in "$folder"/*.{jpg,jpeg,png,webp}; do
    # A mask belongs to a picture; it is none itself.
    [[ $picture == *-mask.* ]] && continue
    asked=$((asked + 1))
    code=0
    # Through cat, for a terminal would get each object spread over many lines.
    vipcli ask "$picture" "$@" --json --quiet </dev/null | cat || code=$?
    if ((code > 128)); then
        exit "$code" # interrupted, or nobody reads the answers any more
    elif ((code != 0)); then
        echo "That was $picture." >&2
        failed=$((failed + 1))
    fi
done

if ((asked == 0)); then
    echo "There are no pictures in $folder." >&2
    exit 1
fi
if ((failed > 0)); then
    echo "$failed of $asked pictures failed." >&2
    exit 1
fi
