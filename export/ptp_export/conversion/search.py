"""``--best``: which products to put into INT8 under limits on bits and task.

All products are put into INT8 first: where that keeps to the limits, there is nothing to search. Else each product
alone is put into INT8 and weighed; then the products are taken in the order of their damage, those with
much arithmetic for little damage first, and the longest such list that keeps to the limits is found by bisection:
damages of many products neither add up nor cancel reliably, so each list is weighed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ptp_export.conversion.trial import Damage
from ptp_export.precision.choices import Loss

#: (graph, node) of a product.
Product = tuple[str, str]
Weigh = Callable[[Sequence[Product]], Damage]


@dataclass(frozen=True)
class Weighed:
    """One product alone in INT8.

    Attributes:
        product: graph and node.
        cost: multiply-accumulates.
        damage: that it does alone.
    """

    product: Product
    cost: int
    damage: Damage


@dataclass(frozen=True)
class SearchResult:
    """What was found.

    Attributes:
        chosen: products in INT8.
        damage: of all of them together, measured.
        weighed: every product alone, in the order in which they were taken; none where all can be in INT8.
        lists: length of every list that was weighed → its damage.
        limits: that were given.
    """

    chosen: tuple[Product, ...]
    damage: Damage
    weighed: tuple[Weighed, ...]
    lists: Mapping[int, Damage]
    limits: Loss


def search(
    costs: Mapping[Product, int], weigh: Weigh, limits: Loss, told: Callable[[float, str], None]
) -> SearchResult:
    """Find the longest list of products within the limits.

    Args:
        costs: products that can be in INT8, with their multiply-accumulates.
        weigh: the damage of a list of products in INT8.
        limits: to keep to.
        told: the share that is done, and what is being done.
    """
    products = list(costs)
    told(0.0, "all together")
    lists: dict[int, Damage] = {0: Damage(0.0, 0.0, 0.0)}
    lists[len(products)] = weigh(products) if products else lists[0]
    if limits.holds(lists[len(products)].bits, lists[len(products)].metric):
        return SearchResult(tuple(products), lists[len(products)], (), lists, limits)
    alone = []
    for number, product in enumerate(products):
        told(0.9 * number / len(products), f"{product[1]} alone")
        alone.append(Weighed(product, costs[product], weigh([product])))
    ordered = sorted(alone, key=lambda item: _price(item, alone, limits))
    names = [item.product for item in ordered]

    def within(length: int) -> bool:
        told(0.9 + 0.1 * len(lists) / 10, f"{length} of {len(names)} together")
        lists[length] = weigh(names[:length])
        return limits.holds(lists[length].bits, lists[length].metric)

    low, high = 0, len(names)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(middle) else (low, middle)
    return SearchResult(tuple(names[:low]), lists[low], tuple(ordered), lists, limits)


def _price(item: Weighed, alone: Sequence[Weighed], limits: Loss) -> float:
    """Damage for each multiply-accumulate: bits as a share of the limit, answers as one of the worst product's."""
    worst = max((other.damage.answer for other in alone), default=0.0) or 1.0
    bits = max(0.0, item.damage.bits) / max(limits.bits, 1e-4)
    return (bits + item.damage.answer / worst) / max(1, item.cost)
