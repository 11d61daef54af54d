#!/bin/sh
# The main job on a real manifest: check it, compile it, train it. Usage: demo.sh [FOLDER]
set -eu
folder=${1:-.demo}
here=$(dirname "$0")
mkdir -p "$folder"

say() { printf '\033[1m$ %s\033[0m\n' "$*"; }
tell() { printf '\n%s\n' "$*"; }

tell "1. A manifest that Kaito accepts. What would it really train?"
say kaitoc check "$here/demo.yaml"
kaitoc check "$here/demo.yaml" || true

tell "2. The same manifest, repaired: only the lines that must change."
say kaitoc compile "$here/demo.yaml" --diff
kaitoc compile "$here/demo.yaml" --diff || true
kaitoc compile "$here/demo.yaml" -o "$folder/compiled" >"$folder/compile.log" 2>&1

tell "3. The compiled manifest holds up."
say kaitoc check "$folder/compiled/demo.yaml"
kaitoc check "$folder/compiled/demo.yaml"

tell "4. In place of Phi-3 itself, a Phi-3 small enough for this machine (about half a minute)."
say python "$here/build_tiny_model.py" "$folder/model"
python "$here/build_tiny_model.py" "$folder/model"

tell "5. The compiled manifest, unchanged, trains it: QLoRA on the CPU (one to three minutes)."
say kaitoc run "$folder/compiled/demo.yaml" --model-path "$folder/model" --data "$here/data" --output "$folder/results" \
    --device cpu
rm -rf "$folder/results"
kaitoc run "$folder/compiled/demo.yaml" --model-path "$folder/model" --data "$here/data" --output "$folder/results" \
    --device cpu
