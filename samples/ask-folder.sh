#!/usr/bin/env bash
# Ask about a folder of pictures in three ways, and compare the answers with the expected ones.
#
#   ask-folder.sh OUT [FOLDER] [options of vipcli batch: --model …, --retry-failed …]
#
# The answers to one question about each picture are written to OUT/pictures.jsonl, to one about each region
# in FOLDER/annotations.json to OUT/regions.csv, and to the questions in FOLDER/tasks.jsonl to
# OUT/tasks.jsonl. Annotations and tasks are optional. Without FOLDER, the scenes beside this script are used.
# If interrupted, run the same command again to resume. Exit codes are those of vipcli batch: 3 if rows failed.
set -euo pipefail

if (($# < 1)) || [[ $1 == -* ]]; then
    echo "Usage: $0 OUT [FOLDER] [OPTIONS]" >&2
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
    # Go on after failed rows (exit code 3), but not after any other error.
    ((code == 0 || code == 3)) || exit "$code"
    ((code == 0)) || worst=$code
}

# Without --form photos, batch would read the annotations beside the pictures instead.
batch "$folder" --form photos --question "How many things are there in the picture?" -o "$out/pictures.jsonl" "$@"
if [[ -f $folder/annotations.json ]]; then
    batch "$folder/annotations.json" --question "What colour is the {label} {1}?" -o "$out/regions.csv" "$@"
fi
if [[ -f $folder/tasks.jsonl ]]; then
    batch "$folder/tasks.jsonl" -o "$out/tasks.jsonl" "$@"
fi

# With --dry-run, no rows are written.
if [[ -f $folder/tasks.jsonl && -f $out/tasks.jsonl ]]; then
    python3 - "$out/tasks.jsonl" <<'PYTHON'
import json
import sys


def normalize(answer):
    words = str(answer).strip(" .!").casefold().split()
    return words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words


with open(sys.argv[1], encoding="utf-8") as file:
    rows = [json.loads(line) for line in file]
rows = [row for row in rows if "expected" in row["extra"]]
matches = 0
print(f"{'task':12} {'expected':12} answer")
for row in rows:
    expected = row["extra"]["expected"]
    same = row["error"] is None and normalize(row["answer"]) == normalize(expected)
    matches += same
    answer = row["answer"] if row["error"] is None else f"error: {row['error']}"
    print(f"{row['id']:12} {expected!s:12} {' '.join(answer.split())}{'' if same else '  (differs)'}")
print(f"{matches} of {len(rows)} answers match.")
PYTHON
fi
exit "$worst"
