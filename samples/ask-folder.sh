#!/usr/bin/env bash
# Ask about a folder of pictures in three ways, and compare the answers with those expected.
#
#   ask-folder.sh OUT [FOLDER] [what vipcli batch takes: --model …, --retry-failed …]
#
# One question about each picture goes to OUT/pictures.jsonl, one about each region of
# FOLDER/annotations.json to OUT/regions.csv, and those of FOLDER/tasks.jsonl to OUT/tasks.jsonl. Without
# FOLDER, the scenes beside this script are taken; one without annotations or tasks will do.
# After a break, the same command goes on where it was. It ends as vipcli batch does: with 3 where rows failed.
set -euo pipefail

if (($# < 1)) || [[ $1 == -* ]]; then
    echo "Use: $0 OUT [FOLDER] [OPTIONS]" >&2
    exit 2
fi
out=$1
shift
folder=$(dirname -- "${BASH_SOURCE[0]}")/scenes
if (($# > 0)) && [[ $1 != -* ]]; then
    folder=$1
    shift
fi
mkdir -p -- "$out"

worst=0
batch() {
    local code=0
    vipcli batch "$@" --resume </dev/null || code=$?
    # Rows that failed leave the others as they are; anything else ends it all.
    ((code == 0 || code == 3)) || exit "$code"
    ((code == 0)) || worst=$code
}

# Annotations beside the pictures would be asked about otherwise.
batch "$folder" --form photos --question "How many things are there in the picture?" -o "$out/pictures.jsonl" "$@"
if [[ -f $folder/annotations.json ]]; then
    batch "$folder/annotations.json" --question "What colour is the {label} {1}?" -o "$out/regions.csv" "$@"
fi
if [[ -f $folder/tasks.jsonl ]]; then
    batch "$folder/tasks.jsonl" -o "$out/tasks.jsonl" "$@"
fi

# With --dry-run there are no rows.
if [[ -f $folder/tasks.jsonl && -f $out/tasks.jsonl ]]; then
    python3 - "$out/tasks.jsonl" <<'PYTHON'
import json
import sys


def plain(answer):
    words = str(answer).strip(" .!").casefold().split()
    return words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words


with open(sys.argv[1], encoding="utf-8") as file:
    rows = [json.loads(line) for line in file]
rows = [row for row in rows if "expected" in row["extra"]]
right = 0
print(f"{'task':12} {'expected':12} answer")
for row in rows:
    expected = row["extra"]["expected"]
    same = row["error"] is None and plain(row["answer"]) == plain(expected)
    right += same
    told = row["answer"] if row["error"] is None else f"error: {row['error']}"
    print(f"{row['id']:12} {expected!s:12} {' '.join(told.split())}{'' if same else '  (differs)'}")
print(f"{right} of {len(rows)} answers match.")
PYTHON
fi
exit "$worst"
