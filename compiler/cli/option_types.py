"""Types of options that refuse a value by the option's name, in one line, and name the word that was meant."""

from __future__ import annotations

import math
from typing import Any

import click

from kaitoc.compiler.core.wording import did_you_mean


class Choice(click.Choice[str]):
    """One of some words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word; a word that is none of them names the closest."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            from difflib import get_close_matches

            words = [str(word) for word in self.choices]
            close = did_you_mean(get_close_matches(str(value).lower(), words, n=1, cutoff=0.5))
            self.fail(f"`{value}` is not one of {', '.join(words)}{close}", param, ctx)


class _Bounded:
    """What the two kinds of numbers share: the words for their bounds."""

    KIND: str

    def _wanted(self, least: float | None, most: float | None, least_is_out: bool, most_is_out: bool) -> str:
        if least is not None and most is not None and not (least_is_out or most_is_out):
            return f"{self.KIND} from {least:g} to {most:,.10g}"
        bounds = [
            *([f"{'above' if least_is_out else 'of at least'} {least:g}"] if least is not None else []),
            *([f"{'below' if most_is_out else 'at most'} {most:g}"] if most is not None else []),
        ]
        return " ".join((self.KIND, " and ".join(bounds))).rstrip()


class Integer(click.IntRange, _Bounded):
    """A whole number, with bounds or without."""

    KIND = "an integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; what is none, or out of bounds, is refused with the bounds."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            wanted = self._wanted(self.min, self.max, self.min_open, self.max_open)
            self.fail(f"expected {wanted}, got `{value}`", param, ctx)


class Number(click.FloatRange, _Bounded):
    """A number, with bounds or without."""

    KIND = "a number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; what is none, NaN included, or out of bounds, is refused with the bounds."""
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if math.isnan(number):
            wanted = self._wanted(self.min, self.max, self.min_open, self.max_open)
            self.fail(f"expected {wanted}, got `{value}`", param, ctx)
        return number
