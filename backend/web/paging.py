"""Parts of lists: what a request asks for, and what the reply says of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from backend.web.errors import ApiError
from backend.web.shapes import page

Limit = Annotated[int | None, Query(ge=1, le=100_000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
Direction = Annotated[Literal["ASC", "DESC", "asc", "desc"], Query()]


@dataclass(frozen=True)
class Paging:
    """`limit` None means all that is left."""

    limit: int | None
    offset: int
    order: str
    order_type: str

    def apply(self, query: Any, columns: Mapping[str, Any]) -> Any:
        """The part of the query; `columns` are what it may be ordered by, the first is unique."""
        self._check(columns)
        unique, column = next(iter(columns.values())), columns[self.order]
        down = self.order_type == "DESC"
        wanted = dict.fromkeys((column, unique)) if column is not unique else {column: None}
        ordered = query.order_by(*(c.desc() if down else c.asc() for c in wanted))
        return ordered.offset(self.offset).limit(self.limit or 2**31)

    def slice(self, items: Sequence[Any], *orders: str) -> Sequence[Any]:
        """The part of a short list that is complete, and in the order that all `orders` mean."""
        self._check(orders)
        ordered = items[::-1] if self.order_type == "DESC" else items
        return ordered[self.offset : None if self.limit is None else self.offset + self.limit]

    def _check(self, orders: Iterable[str]) -> None:
        if self.order not in orders:
            raise ApiError(400, f"order: {self.order[:100]!r} is none of {', '.join(orders)}")

    def page(self, items: Sequence[Any]) -> dict[str, Any]:
        """The reply."""
        return page(items, self.limit, self.offset, self.order, self.order_type)


def _by(*orders: str) -> Callable[..., Paging]:
    extra: dict[str, Any] = {"enum": list(orders)}

    def paging(
        limit: Limit = None,
        offset: Offset = 0,
        order: Annotated[str, Query(json_schema_extra=extra)] = "id",
        order_type: Direction = "ASC",
    ) -> Paging:
        return Paging(limit, offset, order, order_type.upper())

    return paging


Part = Annotated[Paging, Depends(_by("id", "name"))]
#: Of a list that has no other order.
ById = Annotated[Paging, Depends(_by("id"))]
