#!/bin/sh
# The main job on a real manifest: check it, compile it, train it. Usage: demo.sh [FOLDER]
set -eu
folder=${1:-.demo}
here=$(dirname "$0")
mkdir -p "$folder"

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

say kaitoc check "$here/demo.yaml"
kaitoc check "$here/demo.yaml" || true

say kaitoc compile "$here/demo.yaml" --diff
kaitoc compile "$here/demo.yaml" --diff || true
kaitoc compile "$here/demo.yaml" -o "$folder/compiled" >"$folder/compile.log" 2>&1

say kaitoc check "$folder/compiled/demo.yaml"
kaitoc check "$folder/compiled/demo.yaml"

say python "$here/build_tiny_model.py" "$folder/model"
python "$here/build_tiny_model.py" "$folder/model"

say kaitoc run "$folder/compiled/demo.yaml" --model-path "$folder/model" --data "$here/data" --output "$folder/results"
rm -rf "$folder/results"
kaitoc run "$folder/compiled/demo.yaml" --model-path "$folder/model" --data "$here/data" --output "$folder/results"
