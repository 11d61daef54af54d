"""Values that something else fills in before Kubernetes sees them: placeholders of template tools, encrypted values.

A placeholder can break the YAML around it (`[${A}, b]`, `rank: {{ .Values.rank }}`), so it is parsed as a word of the
same length, and the scalar that holds it says so. Nothing may conclude anything from such a value: reading it raises
`UnknownValueError`, wherever it is read.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass

_HINTS = ("$", "{{", "<", "ENC[", "%", "@", "__", "((", "#{", "_HERE", "YOUR_", "ref+", "_ME")
_BRACED = re.compile(r"\{[A-Z]")
_MASKS = range(0xE000, 0xF8FF)
"""Private characters, one for each placeholder of a text; YAML allows them and no manifest has them."""

_ANYWHERE = r"""
    \$?\{\{(?!\s*(?:"[^"\n]*"|'[^'\n]*')\s*:)[^\n]*?\}\}    # Go templates, Jinja, GitHub expressions, no JSON
  | \$\{(?:[^{}\n]|\$?\{[^{}\n]*\})+\}              # envsubst, Flux, Terraform
  | \$\([A-Za-z_][\w.-]*\)                          # kustomize variables, Azure Pipelines
  | \$[A-Z][A-Z0-9_]*\b
  | ENC\[[A-Z0-9_]+,[^\]\n]*\]                      # sops
  | %[A-Z][A-Z0-9]*_[A-Z0-9_]*%
  | @@[A-Za-z_][\w.-]*@@ | (?<!\w)@[A-Z][A-Z0-9_]+@
  | (?<![A-Za-z0-9_])__[A-Z][A-Z0-9_]*?__(?![A-Za-z0-9_])
  | \(\([a-zA-Z_][\w./-]*\)\)                       # Concourse
  | (?<=\S)\#\{[A-Za-z_][\w.-]*\}\#?                # Azure's replace-tokens; behind a blank it is a comment
  | \{[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\}
  | \b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_HERE\b | \bYOUR_[A-Z0-9_]+\b | \b(?:REPLACE|CHANGE)_ME\b
  | \bref\+[a-z][\w+]*://[^\s"'\[\]{},]+                   # vals
"""
_ANGLED = r"<(?:path:[^<>\n]{1,300}|[A-Za-z][\w .:/@-]{0,80})>"
_WHOLE = r"\$[A-Za-z_]\w* | %[A-Z][A-Z0-9_]+%"
_PLACEHOLDER = f"{_ANYWHERE} | {_ANGLED}"
_SEALED = ("$ANSIBLE_VAULT;", "-----BEGIN AGE ENCRYPTED FILE-----", "-----BEGIN PGP MESSAGE-----")
_ACTION = r"""
    \{\{-?\s*(?:[.$(]|/\*|(?:if|else|end|range|with|include|template|define|block|toYaml|tpl|required|default|quote
        |printf|lookup|fromYaml)\b)                  # Go's templates; Jinja has no such words behind its braces
  | ^[ \t]*\{%                                      # a line of Jinja's own
"""


class UnknownValueError(KaitocError):
    """A value was read that is not known before something fills it in."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(f"`{shortened(placeholder)}` is a placeholder: its value is not known yet")
        self.placeholder = placeholder


@dataclass(frozen=True, slots=True)
class Masked:
    """A text whose placeholders are words; `originals` has what each word's character stands for."""

    text: str
    originals: dict[str, str]

    def restored(self, value: str) -> str:
        """Return a part of the text as it is written."""
        return _pattern("([\ue000-\uf8fe])\\1*").sub(self._original, value)

    def _original(self, found: re.Match[str]) -> str:
        original = self.originals.get(found[1])
        return found[0] if original is None else original * (len(found[0]) // len(original))


@lru_cache(maxsize=2)
def mask(text: str) -> Masked | None:
    """Return a text of the same length in which placeholders are words, None where it has none.

    A file's own text is asked about by its parser, then by what looks for values that are not known.
    """
    if not any(hint in text for hint in _HINTS) and not _BRACED.search(text):
        return None
    free = (chr(code) for code in _MASKS if chr(code) not in text)
    characters: dict[str, str] = {}
    pieces: list[str] = []
    end = 0
    for found in _pattern(f"{_PLACEHOLDER} | (?<![\\w$])(?:{_WHOLE})").finditer(text):
        original = found[0]
        character = characters.get(original) or next(free, "")
        if not character:
            break
        characters[original] = character
        pieces += (text[end : found.start()], character * len(original))
        end = found.end()
    if not characters:
        return None
    pieces.append(text[end:])
    return Masked("".join(pieces), {character: original for original, character in characters.items()})


def placeholder_in(value: str, key: str = "", tag: str | None = None) -> str:
    """Return the placeholder that makes a scalar's value unknown, empty where it is what it says.

    A text of several lines is unknown only as a whole. Special tokens look like placeholders (`<eos>`), and so does
    Jinja in a chat template: under their keys only what no tokenizer and no template has counts.
    """
    text = value.strip()
    if tag == "!vault" or text.startswith(_SEALED):
        return text.partition("\n")[0] or "!vault"
    whole = _pattern(f"{_PLACEHOLDER} | {_WHOLE}").fullmatch(text)
    if key.endswith(("_token", "_tokens", "template", "reasoning-config", "reasoning_config")):
        return text if whole is not None and (text[0] == "$" or _is_certain(text)) else ""
    if whole is not None:
        return text
    if "\n" in text or key.endswith((".yaml", ".yml", ".json")):
        return ""
    found = _pattern(_PLACEHOLDER).search(text)
    return found[0] if found is not None else ""


def is_sealed(placeholder: str) -> bool:
    """Return whether a placeholder is an encrypted value."""
    return placeholder.startswith(("ENC[", "!vault", *_SEALED))


def template_action(text: str) -> int | None:
    """Find the offset of the first template action in a text that is not YAML, None when there is none.

    Values such as a chat template may hold Jinja; what breaks YAML is an action of Helm, or one on a line of its own.
    """
    if "{{" not in text and "{%" not in text:
        return None
    found = _pattern(_ACTION).search(text)
    return found.start() if found is not None else None


def shortened(placeholder: str) -> str:
    """Return a placeholder as messages show it."""
    if placeholder.startswith("ENC["):
        return "ENC[...]"
    return placeholder if len(placeholder) <= 40 else f"{placeholder[:37]}..."


def _is_certain(text: str) -> bool:
    return text.startswith("ENC[") or template_action(text) == 0


@lru_cache(maxsize=4)
def _pattern(source: str) -> re.Pattern[str]:
    """Compile a pattern where a text needs it: of most files none does."""
    return re.compile(source, re.VERBOSE | re.MULTILINE)
