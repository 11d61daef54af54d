"""Prices of instance types, as the user states them.

None are shipped: a price holds for a day, a region and a contract.
"""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type, suggest_instance_types
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.wording import did_you_mean


class PriceError(KaitocError, ValueError):
    """A price that names no known instance type or is no number; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What an hour of each instance type costs, in US dollars."""

    usd_per_hour: tuple[tuple[str, float], ...] = ()

    def of(self, instance: InstanceType | None) -> float | None:
        """Return the price of an hour of an instance type in USD, None where none is stated."""
        return dict(self.usd_per_hour).get(instance.name) if instance is not None else None


NO_PRICES = Prices()


def prices_from(stated: Iterable[tuple[str, float]]) -> Prices:
    """Return prices under the catalog's names, the last of several for one type; raises `PriceError`."""
    prices: dict[str, float] = {}
    for name, usd in stated:
        instance = find_instance_type(name)
        if instance is None:
            hint = did_you_mean(suggest_instance_types(name))
            raise PriceError(f"cannot set a price for `{name}`: it is not an instance type of the catalog{hint}")
        prices[instance.name] = usd
    return Prices(tuple(prices.items()))


def parse_price(text: str) -> tuple[str, float]:
    """Return the instance type and the price per hour of `TYPE=USD`; raises `PriceError`."""
    name, _, amount = text.partition("=")
    try:
        usd = float(amount)
    except ValueError:
        usd = 0.0
    if not name or not 0 < usd < float("inf"):
        raise PriceError(f"`{text}` is not a price: write TYPE=USD, such as `Standard_NC24ads_A100_v4=3.67`")
    return name.strip(), usd


def usd_per_million_tokens(usd_per_hour: float, seconds_per_token: float) -> float:
    """Return the cost of a million trained tokens in USD at a price per hour of the whole instance."""
    return usd_per_hour / 3600 * seconds_per_token * 1e6
