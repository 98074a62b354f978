"""The kinds of question: each turns random picks from a schema into several ways to ask it, and into SQL that answers it."""

from collections.abc import Callable

from sample_data.questions import aggregates, filters, joins
from sample_data.questions.pick import Draft, Pick

__all__ = ["KINDS", "Draft", "Pick"]

KINDS: tuple[Callable[[Pick], Draft], ...] = (
    aggregates.count_rows,
    aggregates.count_where,
    filters.list_all,
    filters.list_where,
    filters.list_not,
    filters.list_either,
    filters.list_above,
    filters.list_below,
    filters.list_between,
    filters.list_after,
    filters.list_before,
    aggregates.count_year,
    filters.list_missing,
    filters.list_both,
    filters.list_starting,
    aggregates.total,
    aggregates.total_where,
    aggregates.total_in_year,
    aggregates.average,
    aggregates.average_where,
    aggregates.largest_where,
    aggregates.smallest_where,
    filters.top,
    filters.bottom,
    filters.newest,
    filters.ordered_where,
    aggregates.distinct_above,
    aggregates.count_each,
    aggregates.average_each,
    aggregates.groups_with_many,
    joins.join_children,
    joins.join_parents,
    joins.join_count,
    joins.join_total,
    joins.join_many,
    filters.above_average,
    joins.without_children,
)
