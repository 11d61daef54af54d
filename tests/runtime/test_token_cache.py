"""Tokens are made once: a later run takes them from the cache, and of a node's processes one makes them for all."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("torch")

from child_runs import ChildRun
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data import cache
from kaitoc.runtime.data.load import PlanData, load_data
from kaitoc.runtime.data.token_key import token_key
from kaitoc.runtime.failures import DataFailure
from kaitoc.runtime.model.load import load_tokenizer

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
Captured = pytest.CaptureFixture[str]
Damaged = Callable[[int, int], tuple[PlanData, str]]
FROM_CACHE = "; tokens from cache"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of cached tokens, of a cache that is not there yet."""
    monkeypatch.setenv("KAITOC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


def load(plan: Plan, tokenizer: Any, **options: bool) -> PlanData:
    return load_data(plan, Path(plan.output.path) / "downloads", tokenizer, reuse=False, **options)


def rows(data: PlanData) -> Any:
    assert data.evaluation is not None
    return data.training.to_list(), data.evaluation.to_list(), data.training.features, data.evaluation.features


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.arrow"))


@pytest.fixture(params=["sft", "dpo"])
def plan(request: pytest.FixtureRequest, make_plan: MakePlan, tmp_path: Path) -> Plan:
    """A plan with data of their own for training and for evaluation, some rows of which are bad."""
    keys = ("prompt", "completion") if request.param == "sft" else ("prompt", "chosen")
    lines = [{keys[0]: f"Rule {number}? ", keys[1]: "A key. " * number, "rejected": "No."} for number in range(1, 9)]
    for name in ("train", "eval"):
        text = "".join(json.dumps(line) + "\n" for line in lines) + "{}\n"
        (tmp_path / f"{name}.jsonl").write_text(text)
    data = {
        "paths": [str(tmp_path / "train.jsonl")], "eval_paths": [str(tmp_path / "eval.jsonl")], "skip_bad_rows": True,
        "max_length": 16,
    }  # fmt: skip
    changes = {"data": data, "training": {"eval_strategy": "epoch"}}
    return make_plan(**changes, dpo={}) if request.param == "dpo" else make_plan(**changes)


def test_a_later_run_has_the_rows_and_the_words_of_the_first(plan: Plan, tokenizer: Any, folder: Path) -> None:
    without = load(plan, tokenizer, use_cache=False)
    assert not folder.exists()

    first, second = load(plan, tokenizer), load(plan, tokenizer)

    assert rows(first) == rows(second) == rows(without)
    assert first.summary == without.summary == second.summary.replace(FROM_CACHE, "")
    assert second.summary.count(FROM_CACHE) == 2
    told = [(data.longest_tokens, data.num_skipped, data.num_truncated) for data in (without, first, second)]
    assert told[0] == told[1] == told[2]
    assert told[0][1] == 2


def test_what_is_cached_is_for_its_owner_alone(plan: Plan, tokenizer: Any, folder: Path) -> None:
    load(plan, tokenizer)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(files(folder)) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in folder.iterdir())


@settings(max_examples=12)
@given(place=st.integers(0), value=st.integers(1, 255))
def test_a_damaged_file_is_made_again(place: int, value: int, damaged: Damaged) -> None:
    data, told = damaged(place, value)

    assert FROM_CACHE not in data.summary
    assert "is damaged" in told


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, chat_data: Path, tokenizer: Any
) -> Iterator[Damaged]:
    """A function that changes a byte of the cached file, or cuts it off, and loads the data again."""
    from contextlib import redirect_stderr
    from io import StringIO

    from short_plan import short_plan

    root = tmp_path_factory.mktemp("damaged")
    plan = short_plan(tiny_model, chat_data, root / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAITOC_CACHE_DIR", str(root))

        def change(place: int, value: int) -> tuple[PlanData, str]:
            load(plan, tokenizer)
            (file,) = files(root / "tokens")
            content = bytearray(file.read_bytes())
            content[place % len(content)] ^= value
            file.write_bytes(content if value % 2 else content[: place % len(content)])
            told = StringIO()
            with redirect_stderr(told):
                return load(plan, tokenizer), told.getvalue()

        yield change


def test_the_key_follows_from_whatever_changes_tokens(
    make_plan: MakePlan, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"

    def key(text: str = '{"text": "a"}', **data: Any) -> str:
        path.write_text(text)
        plan = make_plan(data={"paths": [str(path)], **data})
        return token_key(plan, plan.data.paths, tokenizer)

    usual = key()
    assert usual == key(shuffle=False, train_fraction=0.5, pad_to_multiple_of=8)
    changed = [
        key('{"text": "b"}'), key(max_length=8), key(truncation_mode="keep_end"), key(completion_only_loss=False),
        key(assistant_only_loss=False), key(packing=True), key(skip_bad_rows=True), key(text_column="text"),
    ]  # fmt: skip
    plan = make_plan(data={"paths": [str(path)]}, dpo={})
    changed += [token_key(plan, plan.data.paths, tokenizer)]
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages }}")
    changed += [key()]
    monkeypatch.setattr(tokenizer, "chat_template", "{{ strftime_now('%d') }}")
    changed += [key()]
    monkeypatch.setattr("time.strftime", lambda *_: "another day")
    changed += [key()]

    assert len({usual, *changed}) == 1 + len(changed)


def test_a_file_that_changed_but_for_its_time_is_another(make_plan: MakePlan, tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}')
    plan, state = make_plan(data={"paths": [str(path)]}), path.stat()
    before = token_key(plan, plan.data.paths, tokenizer)
    path.write_text('{"text": "b"}')
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    assert token_key(plan, plan.data.paths, tokenizer) != before


def test_rows_that_are_wrong_are_never_cached(
    make_plan: MakePlan, tokenizer: Any, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": 1}\n')
    for _ in range(2):
        with pytest.raises(DataFailure, match=r"rows\.jsonl:1"):
            load(make_plan(data={"paths": [str(tmp_path / "rows.jsonl")]}), tokenizer)

    assert files(folder) == []


def test_without_a_place_for_a_cache_the_run_goes_on(
    make_plan: MakePlan,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KAITOC_CACHE_DIR", str(tmp_path / "file" / "below"))

    assert len(load(make_plan(), tokenizer).training) == 24
    assert re.search("tokens are not cached: .*; KAITOC_CACHE_DIR names a folder", capsys.readouterr().err)


def test_a_folder_that_others_can_write_is_not_trusted(folder: Path, capsys: Captured) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)

    assert cache.cache_folder() is None
    assert "other users can write to it" in capsys.readouterr().err


def test_a_full_disk_stops_no_run(
    make_plan: MakePlan,
    tokenizer: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    assert len(load(make_plan(), tokenizer).training) == 24
    assert "tokens are not cached: No space left on device" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_run_waits_for_another_that_makes_the_same_tokens(
    make_plan: MakePlan,
    tokenizer: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    plan = make_plan()
    found = cache.cache_folder()
    assert found is not None
    loaded: list[PlanData] = []
    other = Thread(target=lambda: loaded.append(load(plan, tokenizer)))
    with cache.locked(found, token_key(plan, plan.data.paths, tokenizer)):
        other.start()
        other.join(0.5)
        assert other.is_alive()
        assert files(folder) == []
    other.join()

    assert "another run is tokenizing the same data" in capsys.readouterr().err
    assert len(loaded[0].training) == 24
    monkeypatch.setattr(cache, "_LOCK_SECONDS", 0.0)
    with cache.locked(found, "key"), cache.locked(found, "key"):
        pass  # a lock that is never given back holds nobody for ever
    assert [file.suffix for file in folder.iterdir()] == [".arrow"]


def age(file: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(file, (then, then), follow_symlinks=False)


def test_tokens_that_no_run_used_for_30_days_are_removed(
    make_plan: MakePlan, tokenizer: Any, folder: Path, tmp_path: Path
) -> None:
    for length in (32, 48, 64):
        load(make_plan(data={"max_length": length}), tokenizer)
    unused, recent, used = sorted(files(folder), key=lambda file: file.stat().st_mtime_ns)
    for file, days in ((unused, 30.1), (recent, 29.9), (used, 60)):
        age(file, days)

    assert FROM_CACHE in load(make_plan(data={"max_length": 64}), tokenizer).summary
    assert files(folder) == sorted([recent, used])
    assert time.time() - used.stat().st_mtime < 3600


def test_what_killed_runs_left_is_removed_and_nothing_of_the_user_s(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    key, kept = "0a" * 16, tmp_path / "kept"
    kept.write_text("")
    left = [folder / f"{key}.lock", folder / ".kaitoc-part-ab_12cde"]
    users = [
        folder / name
        for name in ("notes.txt", "rows.arrow", f"{key}.arrow", f"{key}-rows.arrow", "poetry.lock", ".part-ab_12cde")
    ]
    for file in (*left, *users):
        file.write_text("")
    link, directory, held = (folder / f"{sign * 32}.lock" for sign in "123")
    link.symlink_to(kept)
    directory.mkdir()
    with cache.locked(folder, held.stem):
        for file in folder.iterdir():
            age(file, 365)
        cache.remove_unused(folder)

        assert sorted(folder.iterdir()) == sorted([*users, link, directory, held])
    assert kept.exists()


def test_a_lock_that_its_holder_removed_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_POLL_SECONDS", 0.001)
    folder.mkdir(parents=True)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with cache.locked(folder, "key"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert (len(most), max(most)) == (80, 1)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_one_process_of_a_node_makes_or_takes_the_tokens_of_all(
    make_plan: MakePlan, tokenizer: Any, tmp_path: Path, folder: Path
) -> None:
    plan = make_plan(training={"max_steps": 1}).model_copy(update={"num_processes": 2})
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"KAITOC_CACHE_DIR": str(folder.parent), "TMPDIR": str(temporary)}

    without = ChildRun(plan, tmp_path / "without", "--no-cache", **variables).end()
    assert without.returncode == 0, without.stderr
    assert not folder.exists()
    load(plan, load_tokenizer(plan))
    cached = ChildRun(plan, tmp_path / "cached", "--overwrite", **variables).end()

    assert cached.returncode == 0, cached.stderr
    assert (FROM_CACHE in without.stderr, FROM_CACHE in cached.stderr) == (False, True)
    assert not [place for place in temporary.iterdir() if place.name.startswith("kaitoc-")]


def test_where_storage_has_no_locks_no_file_is_left_for_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    folder.mkdir(parents=True)
    with cache.locked(folder, "key"):
        assert list(folder.iterdir()) == []
