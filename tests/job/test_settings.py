"""Where settings come from, what they mean, and what is said about wrong ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.selection import unknown_selectors
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.settings import DEFAULTS, Settings, SettingsError, SettingsFinder, load_settings


def finding(path: str = "ws.yaml", code: str = "KT402", name: str = "partly-matched") -> Finding:
    return Finding(code, name, Severity.WARNING, "message", Source(path, ""), Span(0, 0))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Settings:
    settings = load_settings(str(write(folder / "kaitoc.toml", text)))
    assert settings is not None
    return settings


def test_without_a_settings_file_the_defaults_hold(tmp_path: Path) -> None:
    assert SettingsFinder().for_path(str(tmp_path / "ws.yaml")) is DEFAULTS


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        select = ["KT4", "KT5"]
        ignore = ["KT402"]
        exclude = ["charts/"]
        model = "phi-3-mini-128k-instruct"
        gpu = "A100-80GB"
        gpu-memory = 80
        kaito-version = "v0.12"
        target = "bundled"
        margin = 5
        seq-len = 4096
        [per-path-ignores]
        "tests/**" = ["ALL"]
        [severity]
        KT501 = "off"
        """,
    )

    assert settings == Settings(
        path=str(tmp_path / "kaitoc.toml"),
        root=str(tmp_path),
        select=("KT4", "KT5"),
        ignore=("KT402",),
        per_path_ignores=(("tests/**", ("ALL",)),),
        severity=(("KT501", "off"),),
        exclude=("charts/",),
        model="phi-3-mini-128k-instruct",
        gpu="A100-80GB",
        gpu_memory_gib=80.0,
        kaito_version="v0.12",
        target="bundled",
        margin_percent=5.0,
        seq_len=4096,
    )


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, "")

    assert settings == Settings(path=str(tmp_path / "kaitoc.toml"), root=str(tmp_path))


def test_pyproject_has_a_table_for_kaitoc(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.kaitoc]\ngpu = "A100-80GB"\n')

    assert SettingsFinder().for_path(str(tmp_path / "ws.yaml")).gpu == "A100-80GB"


@pytest.mark.parametrize("text", ["[project]\nname = 'x'\n", "# kaitoc\n[tool.other]\n", "tool = 3 # kaitoc\n"])
def test_a_pyproject_without_the_table_is_passed_over(tmp_path: Path, text: str) -> None:
    write(tmp_path / "kaitoc.toml", 'gpu = "outer"\n')
    write(tmp_path / "inner" / "pyproject.toml", text)

    assert SettingsFinder().for_path(str(tmp_path / "inner" / "ws.yaml")).gpu == "outer"


def test_the_closest_file_wins_and_is_not_merged(tmp_path: Path) -> None:
    write(tmp_path / "kaitoc.toml", 'gpu = "outer"\nmodel = "outer"\n')
    write(tmp_path / "a" / "kaitoc.toml", 'gpu = "inner"\n')
    finder = SettingsFinder()

    assert finder.for_path(str(tmp_path / "a" / "b" / "c" / "ws.yaml")).gpu == "inner"
    assert finder.for_path(str(tmp_path / "a" / "ws.yaml")).model is None
    assert finder.for_path(str(tmp_path / "ws.yaml")).gpu == "outer"


def test_in_one_folder_kaitoc_toml_wins(tmp_path: Path) -> None:
    write(tmp_path / "kaitoc.toml", 'gpu = "kaitoc"\n')
    write(tmp_path / "pyproject.toml", '[tool.kaitoc]\ngpu = "pyproject"\n')

    assert SettingsFinder().for_path(str(tmp_path)).gpu == "kaitoc"


def test_isolated_reads_no_file(tmp_path: Path) -> None:
    write(tmp_path / "kaitoc.toml", "not TOML")

    assert SettingsFinder(isolated=True).for_path(str(tmp_path / "ws.yaml")) is DEFAULTS


def test_a_settings_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "kaitoc.toml", 'gpu = "A100-80GB"\n')
    finder = SettingsFinder()
    first = finder.for_path(str(tmp_path / "a.yaml"))
    path.unlink()

    assert finder.for_path(str(tmp_path / "sub" / "b.yaml")) is first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu =\n", r"kaitoc\.toml: not valid TOML: .*line 1"),
        ("\ngpus = 'x'\n", r"kaitoc\.toml:2: gpus: unknown key; did you mean `gpu`\?"),
        ("seq_len = 1\n", r"kaitoc\.toml:1: seq_len: unknown key; did you mean `seq-len`\?"),
        ("xyzzy = 1\n", r"kaitoc\.toml:1: xyzzy: unknown key$"),
        ("gpu = 'a'\nseq-len = '4096'\n", r"kaitoc\.toml:2: seq-len: expected an integer"),
        ("margin = 100\n", r"kaitoc\.toml:1: margin: expected a number of at most 90"),
        ("gpu-memory = nan\n", r"kaitoc\.toml:1: gpu-memory: .*"),
        ("[severity]\n\nKT402 = 'fatal'\n", r"kaitoc\.toml:3: severity\.KT402: expected off, info, warning or error"),
        ("severity = { KT402 = 'fatal' }\n", r"kaitoc\.toml:1: severity\.KT402: "),
        ("severity.KT402 = 'fatal'\n", r"kaitoc\.toml:1: severity\.KT402: "),
        ("[per-path-ignores]\n'a/**' = 'KT4'\n", r"kaitoc\.toml:2: per-path-ignores\.a/\*\*: expected a list"),
        ("select = ['KT4',\n 3]\n", r"kaitoc\.toml:1: select\.1: .*string"),
        ("kaito-version = 'newest'\n", r"kaitoc\.toml:1: kaito-version: expected a Kaito release, such as v0\.12"),
        ("a = " + "[" * 5_000, r"kaitoc\.toml: not valid TOML: "),
    ],
)
def test_a_wrong_file_is_named_with_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text)


def test_lines_of_a_pyproject_are_found_in_the_right_table(tmp_path: Path) -> None:
    path = write(tmp_path / "pyproject.toml", "[tool.other]\ngpu = 'x'\n\n[tool.kaitoc]\ngpu = 3\n")

    with pytest.raises(SettingsError, match=r"pyproject\.toml:5: gpu: .*string"):
        load_settings(str(path))


def test_a_table_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pyproject.toml", "[tool]\nkaitoc = 3\n")

    with pytest.raises(SettingsError, match=r"kaitoc: expected a table"):
        load_settings(str(path))


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "gpu = 1\nmodel = 2\n")

    assert len(str(caught.value).splitlines()) == 2


def test_an_unreadable_settings_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kaitoc.toml").write_bytes(b"\xff")

    with pytest.raises(SettingsError, match="not UTF-8"):
        SettingsFinder().for_path(str(tmp_path))


def test_the_closest_selector_decides_what_runs() -> None:
    settings = Settings(select=("KT4",), ignore=("ALL",))

    assert settings.runs("KT402", "partly-matched")
    assert not settings.runs("KT501", "does-not-fit")


def test_ignore_wins_a_draw() -> None:
    assert not Settings(select=("KT402",), ignore=("KT402",)).runs("KT402", "partly-matched")


def test_a_rule_can_be_ignored_by_name() -> None:
    assert not Settings(ignore=("partly-matched",)).runs("KT402", "partly-matched")


def test_a_selector_that_is_no_start_of_a_code_selects_nothing() -> None:
    assert not Settings(select=("K",)).runs("KT402", "partly-matched")


def test_select_on_the_command_line_starts_anew() -> None:
    settings = Settings(select=("KT1",), ignore=("KT402",)).with_selection(["KT402"], [])

    assert settings.runs("KT402", "partly-matched")
    assert not settings.runs("KT101", "syntax")


def test_ignore_on_the_command_line_adds() -> None:
    settings = Settings(ignore=("KT402",)).with_selection([], ["KT101"])

    assert not settings.runs("KT402", "partly-matched")
    assert not settings.runs("KT101", "syntax")


def test_severity_is_set_by_the_closest_selector() -> None:
    settings = Settings(severity=(("KT402", "error"), ("KT4", "info"), ("ALL", "off")))
    changed = settings.apply(finding())
    milder = settings.apply(finding(code="KT403", name="other"))

    assert changed is not None
    assert changed.severity is Severity.ERROR
    assert milder is not None
    assert milder.severity is Severity.INFO
    assert settings.apply(finding(code="KT501", name="memory")) is None


def test_a_rule_that_is_off_does_not_run() -> None:
    assert not Settings(severity=(("KT4", "off"),)).runs("KT402", "partly-matched")


def test_a_finding_without_settings_stays_the_same_object() -> None:
    same = finding()

    assert DEFAULTS.apply(same) is same


def test_per_path_ignores_hold_in_their_paths_only(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path), per_path_ignores=(("tests/**", ("KT4",)),))

    assert settings.apply(finding(str(tmp_path / "tests" / "a" / "ws.yaml"))) is None
    assert settings.apply(finding(str(tmp_path / "src" / "ws.yaml"))) is not None
    assert settings.apply(finding(str(tmp_path / "tests" / "ws.yaml"), "KT501", "memory")) is not None


def test_paths_are_relative_to_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(root=str(tmp_path), exclude=("charts/old",))
    (tmp_path / "charts").mkdir()
    monkeypatch.chdir(tmp_path / "charts")

    assert settings.excludes("old")
    assert settings.excludes(os.path.join("old", "ws.yaml"))
    assert not settings.excludes("new")


def test_selectors_that_name_no_rule_are_told() -> None:
    settings = Settings(
        select=("KT4", "KT9"), ignore=("typo",), severity=(("KT402", "off"),), per_path_ignores=(("a", ("KT77",)),)
    )

    assert unknown_selectors(settings.named, {"KT402": "partly-matched"}) == ["KT9", "typo", "KT77"]


def test_rules_are_loaded_for_selectors_that_name_some() -> None:
    def refuse_to_load() -> dict[str, str]:
        raise AssertionError("loaded")

    Settings(select=("ALL",)).refuse_unknown_selectors(refuse_to_load)
    with pytest.raises(AssertionError, match="loaded"):
        Settings(ignore=("KT402",)).refuse_unknown_selectors(refuse_to_load)


def test_a_run_without_settings_loads_neither_toml_nor_pydantic(tmp_path: Path) -> None:
    code = (
        "import sys; from kaitoc.compiler.job.settings import SettingsFinder; SettingsFinder().for_path(sys.argv[1]);"
        "print([name for name in ('tomllib', 'tomli', 'pydantic', 'difflib') if name in sys.modules])"
    )
    write(tmp_path / "pyproject.toml", "[project]\n")
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ws.yaml")], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"
