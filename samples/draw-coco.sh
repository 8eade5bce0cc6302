#!/usr/bin/env bash
# Draw the boxes of a COCO annotation file onto its pictures, each in a colour of its own.
#
#   draw-coco.sh FOLDER [ANNOTATIONS]
#
# The marked pictures go into FOLDER, and which colour is which thing to standard output. Without
# ANNOTATIONS, those beside this script are taken; the pictures lie beside the annotations.
set -euo pipefail

if (($# < 1 || $# > 2)); then
    echo "Use: $0 FOLDER [ANNOTATIONS]" >&2
    exit 2
fi
out=$1
annotations=${2:-$(dirname -- "${BASH_SOURCE[0]}")/annotations.json}
pictures=$(dirname -- "$annotations")
mkdir -p -- "$out"

# One line for each picture: its name, its boxes, and what they hold, with tabs between.
lines=$(
    python3 - "$annotations" <<'PYTHON'
import json
import sys

# The models know the first nine as names of marks. The rest tell boxes apart for people; then it starts over.
COLORS = "red lime blue yellow fuchsia aqua orange purple gold".split()
COLORS += "teal brown pink navy olive coral maroon turquoise indigo salmon".split()

with open(sys.argv[1], encoding="utf-8") as file:
    coco = json.load(file)
names = {category["id"]: category["name"] for category in coco["categories"]}
for image in coco["images"]:
    boxes, things = [], []
    for annotation in coco["annotations"]:
        if annotation["image_id"] == image["id"]:
            x, y, width, height = annotation["bbox"]
            color = COLORS[len(boxes) % len(COLORS)]
            boxes.append(f"{x:.1f},{y:.1f},{x + width:.1f},{y + height:.1f}:{color}")
            things.append(f"{color} {names[annotation['category_id']]}")
    if boxes:
        print(image["file_name"], " ".join(boxes), ", ".join(things), sep="\t")
PYTHON
)
if [[ -z $lines ]]; then
    echo "There are no boxes in $annotations." >&2
    exit 1
fi
while IFS=$'\t' read -r name boxes things; do
    marks=()
    for box in $boxes; do
        marks+=(--box "$box")
    done
    vipcli draw "$pictures/$name" "${marks[@]}" --quiet -o "$out/${name##*/}" </dev/null
    echo "$name: $things"
done <<<"$lines"
