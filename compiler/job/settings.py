"""Settings of a check: `kaitoc.toml` or `[tool.kaitoc]` in `pyproject.toml`, the closest to the checked file wins.

In one folder `kaitoc.toml` wins. Paths in a settings file are relative to its folder. Neither a TOML reader nor
pydantic is loaded unless there is a settings file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any, Literal
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.faulty_values import describe_fault
from kaitoc.compiler.core.findings import Applicability, Finding, Fix, Severity
from kaitoc.compiler.core.path_patterns import matches_path
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.selection import ALL, Level, closest, is_selected, unknown_selectors
from kaitoc.compiler.core.source import Source, SourceError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from kaitoc.compiler.job.settings_model import SettingsModel

KAITOC_TOML = "kaitoc.toml"
PYPROJECT_TOML = "pyproject.toml"


class SettingsError(KaitocError):
    """A settings file that cannot be used; `str(error)` says where and why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the engine obeys; without a settings file every default holds.

    `path` is the settings file and `root` its folder, both empty for the defaults. `per_path_ignores` are
    patterns with the selectors they ignore, `severity` selectors with their level; findings below `least_severity` are
    not reported. `gpu_memory_gib` is one GPU's, `prices` are US dollars per hour by instance type. None means that the
    engine decides.
    """

    path: str = ""
    root: str = ""
    select: tuple[str, ...] = (ALL,)
    ignore: tuple[str, ...] = ()
    per_path_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    severity: tuple[tuple[str, Level], ...] = ()
    least_severity: Severity = Severity.INFO
    strict: bool = False
    formats: tuple[str, ...] = ()
    extend_safe_fixes: tuple[str, ...] = ()
    unfixable: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True
    model: str | None = None
    gpu: str | None = None
    gpu_memory_gib: float | None = None
    kaito_version: str | None = None
    target: Literal["kaito", "bundled"] = "kaito"
    margin_percent: float | None = None
    seq_len: int | None = None
    prices: tuple[tuple[str, float], ...] = ()

    def with_selection(self, select: Iterable[str], ignore: Iterable[str]) -> Settings:
        """Return the settings under `--select` and `--ignore`: the former starts anew, the latter adds."""
        select, ignore = tuple(select), tuple(ignore)
        if not select and not ignore:
            return self
        if select:
            return replace(self, select=select, ignore=ignore)
        return replace(self, ignore=self.ignore + ignore)

    def runs(self, code: str, name: str) -> bool:
        """Return whether a rule runs at all."""
        return is_selected(code, name, self.select, self.ignore) and self._level(code, name) != "off"

    def excludes(self, path: str) -> bool:
        """Return whether a file or folder is left out of a search through folders."""
        return any(matches_path(pattern, path, self.root) for pattern in self.exclude)

    def apply(self, finding: Finding) -> Finding | None:
        """Return the finding with the severity that was set for its rule, or None if it is not to be reported."""
        code, name = finding.code, finding.name
        if not self.runs(code, name) or self._is_ignored_in(finding.source.path, code, name):
            return None
        level = self._level(code, name)
        if level not in (None, finding.severity):
            finding = replace(finding, severity=Severity(level))
        if not finding.severity.is_at_least(self.least_severity):
            return None
        return finding if finding.fix is None else self._with_applicability(finding, finding.fix)

    def _with_applicability(self, finding: Finding, fix: Fix) -> Finding:
        """Return a finding whose fix is as safe as the settings have it; the closest selector wins."""
        listed = {**dict.fromkeys(self.extend_safe_fixes, True), **dict.fromkeys(self.unfixable, False)}
        selector = closest(listed, finding.code, finding.name) if listed else None
        if selector is None or fix.applicability is Applicability.DISPLAY:
            return finding
        applicability = Applicability.SAFE if listed[selector] else Applicability.DISPLAY
        return replace(finding, fix=replace(fix, applicability=applicability))

    def at_least(self, severity: Severity | None) -> Settings:
        """Return the settings under `--severity`, which reports nothing milder."""
        return self if severity is None else replace(self, least_severity=severity)

    @property
    def named(self) -> tuple[str, ...]:
        """Return the selectors that name some rules but not all, whatever they decide."""
        leveled = (selector for selector, _ in self.severity)
        ignored = (selector for _, selectors in self.per_path_ignores for selector in selectors)
        selectors = (*self.select, *self.ignore, *leveled, *ignored, *self.extend_safe_fixes, *self.unfixable)
        return tuple(selector for selector in selectors if selector != ALL)

    def refuse_unknown_selectors(self, load_rules: Callable[[], Mapping[str, str]]) -> None:
        """Raise `SettingsError` when a selector names none of the rules, which are loaded as name by code.

        Few checks select any: the others need not load the rules for what they do not meet.
        """
        for selector in unknown_selectors(self.named, load_rules()) if self.named else ():
            place = f"{self.path}: " if self.path else ""
            message = f"{place}`{selector}` is not a rule's code, code prefix or name (see `kaitoc rules`)"
            raise SettingsError(message, path=self.path or None)

    def _level(self, code: str, name: str) -> Level | None:
        if not self.severity:
            return None
        levels = dict(self.severity)
        selector = closest(levels, code, name)
        return None if selector is None else levels[selector]

    def _is_ignored_in(self, path: str, code: str, name: str) -> bool:
        return any(
            not is_selected(code, name, (ALL,), selectors) and matches_path(pattern, path, self.root)
            for pattern, selectors in self.per_path_ignores
        )


DEFAULTS = Settings()


class SettingsFinder:
    """Finds the settings of each checked file and reads every settings file once."""

    def __init__(self, *, isolated: bool = False, config: str | None = None) -> None:
        """Look for none if `isolated`; `config` is a file that holds for all paths, in place of those around them."""
        self._isolated = isolated
        self._config = config
        self._by_folder: dict[str, Settings] = {}

    def for_path(self, path: str) -> Settings:
        """Return the settings for a file or folder; raises `SettingsError` when its settings file is wrong."""
        if self._isolated:
            return DEFAULTS
        if self._config is not None:
            return self._stated(self._config)
        path = os.path.abspath(path)
        return self._for_folder(path if os.path.isdir(path) else os.path.dirname(path))

    def _stated(self, config: str) -> Settings:
        """Return the settings of the one file that was named; it holds wherever it lies."""
        settings = self._by_folder.get(config)
        if settings is None:
            settings = load_settings(config)
            if settings is None:
                raise SettingsError(f"{config}: there is no table `[tool.kaitoc]`", path=config)
            self._by_folder[config] = settings
        return settings

    def _for_folder(self, folder: str) -> Settings:
        visited = []
        settings = None
        while settings is None:
            settings = self._by_folder.get(folder) or settings_in(folder)
            visited.append(folder)
            parent = os.path.dirname(folder)
            if settings is None and parent == folder:
                settings = DEFAULTS
            folder = parent
        self._by_folder.update(dict.fromkeys(visited, settings))
        return settings


def settings_in(folder: str) -> Settings | None:
    """Return the settings that a folder itself holds, None if it holds none; raises `SettingsError`."""
    path = os.path.join(folder, KAITOC_TOML)
    if os.path.isfile(path):
        return load_settings(path)
    path = os.path.join(folder, PYPROJECT_TOML)
    return load_settings(path) if os.path.isfile(path) else None


def load_settings(path: str | os.PathLike[str]) -> Settings | None:
    """Read a settings file, None for a `pyproject.toml` without `[tool.kaitoc]`; raises `SettingsError`."""
    path = os.fspath(path)
    try:
        text = Source.read(path).text
    except SourceError as error:
        raise SettingsError(str(error), path=path, line=error.line, column=error.column) from error
    is_pyproject = os.path.basename(path) == PYPROJECT_TOML
    if is_pyproject and "kaitoc" not in text:
        return None
    table = _parse_toml(path, text)
    if is_pyproject:
        tool = table.get("tool")
        table = tool.get("kaitoc") if isinstance(tool, dict) else None
        if table is None:
            return None
    return _settings(path, _validated(path, text, table))


def _parse_toml(path: str, text: str) -> Any:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return toml.loads(text)
    except (ValueError, RecursionError) as error:
        line, column = _place_in_toml(error)
        raise SettingsError(f"{path}: not valid TOML: {error}", path=path, line=line, column=column) from error


def _validated(path: str, text: str, table: object) -> SettingsModel:
    from pydantic import ValidationError

    from kaitoc.compiler.job.settings_model import SettingsModel

    try:
        return SettingsModel.model_validate(table)
    except ValidationError as error:
        lines = _describe(path, text, error)
        raise SettingsError("\n".join(message for _, message in lines), path=path, line=lines[0][0]) from error


def _settings(path: str, model: SettingsModel) -> Settings:
    return Settings(
        path=path,
        root=os.path.dirname(os.path.abspath(path)),
        select=tuple(model.select),
        ignore=tuple(model.ignore),
        per_path_ignores=tuple((pattern, tuple(selectors)) for pattern, selectors in model.per_path_ignores.items()),
        severity=tuple(model.severity.items()) if isinstance(model.severity, dict) else (),
        least_severity=Severity(model.severity) if isinstance(model.severity, str) else Severity.INFO,
        strict=model.strict,
        formats=(model.format,) if isinstance(model.format, str) else tuple(model.format),
        extend_safe_fixes=tuple(model.extend_safe_fixes),
        unfixable=tuple(model.unfixable),
        exclude=tuple(model.exclude),
        respect_gitignore=model.respect_gitignore,
        model=model.model,
        gpu=model.gpu,
        gpu_memory_gib=model.gpu_memory,
        kaito_version=model.kaito_version,
        target=model.target,
        margin_percent=model.margin,
        seq_len=model.seq_len,
        prices=tuple(model.prices.items()),
    )


def _place_in_toml(error: ValueError | RecursionError) -> tuple[int | None, int | None]:
    """Return the line and the column that a TOML reader names in its message; only the newest has them as numbers."""
    match = re.search(r"at line (\d+), column (\d+)", str(error))
    return (int(match[1]), int(match[2])) if match else (None, None)


def _describe(path: str, text: str, error: ValidationError) -> list[tuple[int | None, str]]:
    """Return each fault's line where it can be found, and its text: file, key, what is wrong, what was meant."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        keys = [str(key) for key in fault["loc"] if not str(key).startswith("[")]
        line = _line_of(text, keys)
        place = f"{path}:{line}" if line else path
        message = _FAULTS.get(fault["type"], describe_fault)(fault)
        lines.append((line, f"{place}: {'.'.join(keys) or 'tool.kaitoc'}: {message}"))
    return lines


def _not_a_release(_fault: Mapping[str, Any]) -> str:
    return "expected a Kaito release, such as v0.12"


def _unknown_key(fault: Mapping[str, Any]) -> str:
    key = str(fault["loc"][-1])
    from difflib import get_close_matches

    from kaitoc.compiler.job.settings_model import SettingsModel

    known = [field.alias or name for name, field in SettingsModel.model_fields.items()]
    close = get_close_matches(key.replace("_", "-"), known, n=1)
    return f"unknown key; did you mean `{close[0]}`?" if close else "unknown key"


_FAULTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "extra_forbidden": _unknown_key,
    "string_pattern_mismatch": _not_a_release,
}


def _line_of(text: str, keys: list[str]) -> int | None:
    """Return the line that assigns the innermost key that the text shows, searching where `kaitoc` is first named."""
    start = max(text.find("tool.kaitoc"), 0)
    for key in reversed(keys):
        name = re.escape(key)
        assigned = re.compile(rf"""(?m)(?:^|[{{,.])[ \t]*["']?{name}["']?[ \t]*=|^[ \t]*\[.*\b{name}["']?\][ \t]*$""")
        match = assigned.search(text, start)
        if match:
            return text.count("\n", 0, match.end()) + 1
    return None
