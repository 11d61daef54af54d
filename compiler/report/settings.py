"""The settings of a path, as `kaitoc check --show-settings` prints them."""

from __future__ import annotations

import json

from kaitoc.compiler.job.settings import Settings


def settings_text(path: str, settings: Settings) -> str:
    """Return the file that a path's settings come from, and the keys that a settings file would have for them."""
    lines = [f"{path}: {settings.path or 'no settings file'}"]
    lines += [f"  {key} = {json.dumps(value)}" for key, value in _table(settings).items() if value is not None]
    return "\n".join(lines)


def _table(settings: Settings) -> dict[str, object]:
    return {
        "select": settings.select,
        "ignore": settings.ignore,
        "per-path-ignores": dict(settings.per_path_ignores),
        "severity": dict(settings.severity) or settings.least_severity.value,
        "strict": settings.strict,
        "format": settings.formats,
        "extend-safe-fixes": settings.extend_safe_fixes,
        "unfixable": settings.unfixable,
        "exclude": settings.exclude,
        "respect-gitignore": settings.respect_gitignore,
        "model": settings.model,
        "gpu": settings.gpu,
        "gpu-memory": settings.gpu_memory_gib,
        "kaito-version": settings.kaito_version,
        "target": settings.target,
        "margin": settings.margin_percent,
        "seq-len": settings.seq_len,
    }
