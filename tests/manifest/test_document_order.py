"""A move of whole documents changes no byte, only places."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.offsets import TextHistory
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.document_order import late_config_maps, move_up
from kaitoc.compiler.manifest.reading import read_manifests

WORKSPACE = "apiVersion: kaito.sh/v1beta1\nkind: Workspace\nmetadata: {name: NAME}\ntuning: {config: params}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: params}\ndata:\n  training_config.yaml: |\n    a: 1\n"
OTHER = "apiVersion: v1\nkind: Secret\nmetadata: {name: other} # \u00e9\U0001f600\n"

comments = st.sampled_from(["", "# a comment\n", "\n", "# one\n\n# two\n"])
markers = st.sampled_from(["---\n", "--- \n", "---\n# below\n", "--- # beside\n"])
objects = st.sampled_from([OTHER, WORKSPACE.replace("NAME", "b"), ""])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Return a file whose first Workspace comes before its ConfigMap."""
    head = draw(st.sampled_from(["", "---\n", "# all of it\n\n", "# all of it\n---\n"]))
    bodies = [WORKSPACE.replace("NAME", "a"), *draw(st.lists(objects, max_size=2)), CONFIG_MAP]
    bodies += draw(st.lists(objects, max_size=2))
    text = head + bodies[0]
    for body in bodies[1:]:
        text += draw(comments) + draw(markers) + draw(comments) + body
    text = text.rstrip("\n") if draw(st.booleans()) else text
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@given(files())
def test_a_move_keeps_every_byte_and_every_object_and_settles(text: str) -> None:
    source = Source("x.yaml", text)
    file = read_manifests(source)
    late = next(late_config_maps(file))
    edits = move_up(late, file)
    if not edits:
        return

    after = Source("x.yaml", apply_edits(source, edits))

    assert Counter(after.text) == Counter(text)
    moved = read_manifests(after)
    assert all(document.problems == [] for document in moved.documents)
    assert list(late_config_maps(moved)) == []
    assert Counter(manifest.ref for manifest in moved.manifests) == Counter(manifest.ref for manifest in file.manifests)
    others = [manifest.ref for manifest in file.manifests if manifest is not late.config_map]
    assert [manifest.ref for manifest in moved.manifests if manifest.ref != late.config_map.ref] == others


@given(files())
def test_places_in_a_moved_document_lead_back_to_where_it_stood(text: str) -> None:
    source = Source("x.yaml", text)
    file = read_manifests(source)
    edits = move_up(next(late_config_maps(file)), file)
    after = apply_edits(source, edits)
    history = TextHistory()
    history.add(source, edits)

    for word in ("training_config.yaml", "Workspace"):
        place = after.index(word)
        found = history.original_span(Span(place, place + len(word)))
        assert source.text[found.start :].startswith(word)
