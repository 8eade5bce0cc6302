#!/usr/bin/env bash
# Draw the boxes in a COCO annotation file onto its pictures, each box in a different color.
#
#   draw-coco.sh FOLDER [ANNOTATIONS]
#
# The marked pictures are written to FOLDER, and a legend (color and label of each box) to standard output.
# The pictures must be beside the annotations. Without ANNOTATIONS, the file beside this script is used.
set -euo pipefail

if (($# < 1 || $# > 2)); then
    echo "Usage: $0 FOLDER [ANNOTATIONS]" >&2
    exit 2
fi
out=$1
annotations=${2:-$(dirname -- "${BASH_SOURCE[0]}")/annotations.json}
pictures=$(dirname -- "$annotations")
mkdir -p -- "$out"

# One line per picture: its name, its boxes and their legend, separated by tabs.
lines=$(
    python3 - "$annotations" <<'PYTHON'
import json
import sys

# The models know the first nine colors from training; the rest are for people. After the last, start over.
COLORS = "red lime blue yellow fuchsia aqua orange purple gold".split()
COLORS += "teal brown pink navy olive coral maroon turquoise indigo salmon".split()

with open(sys.argv[1], encoding="utf-8") as file:
    coco = json.load(file)
names = {category["id"]: category["name"] for category in coco["categories"]}
for image in coco["images"]:
    boxes, legend = [], []
    for annotation in coco["annotations"]:
        if annotation["image_id"] == image["id"]:
            x, y, width, height = annotation["bbox"]
            color = COLORS[len(boxes) % len(COLORS)]
            boxes.append(f"{x:.1f},{y:.1f},{x + width:.1f},{y + height:.1f}:{color}")
            legend.append(f"{color} {names[annotation['category_id']]}")
    if boxes:
        print(image["file_name"], " ".join(boxes), ", ".join(legend), sep="\t")
PYTHON
)
if [[ -z $lines ]]; then
    echo "There are no boxes in $annotations." >&2
    exit 1
fi
while IFS=$'\t' read -r name boxes legend; do
    marks=()
    for box in $boxes; do
        marks+=(--box "$box")
    done
    vipcli draw "$pictures/$name" "${marks[@]}" --quiet -o "$out/${name##*/}" </dev/null
    echo "$name: $legend"
done <<<"$lines"
