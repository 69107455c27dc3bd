"""From a request's query string to SQL: select, filters, order, limit. Names are quoted, values are bound."""

import re

from psycopg2 import sql

_COMPARE = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike"}
_RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$ -]*")


class Bad(Exception):
    """A query string that PostgREST would not take either (400)."""


def _identifier(name):
    if not _NAME.fullmatch(name):
        raise Bad(f"unexpected name {name!r}")
    return sql.Identifier(name)


def columns(text):
    """`select=id,title:name,created::text`."""
    if text in (None, "", "*"):
        return sql.SQL("*")
    parts = []
    for item in text.split(","):
        if item.strip() == "*":
            parts.append(sql.SQL("*"))
            continue
        alias, found, rest = item.strip().partition(":")
        if found and not rest.startswith(":"):
            item = rest
        else:
            alias, item = None, item.strip()
        name, _, cast = item.partition("::")
        part = _identifier(name)
        if cast:
            part = sql.SQL("cast({} as {})").format(part, _identifier(cast))
        if alias or cast:
            part = sql.SQL("{} as {}").format(part, _identifier(alias or name))
        parts.append(part)
    return sql.SQL(", ").join(parts)


def where(pairs):
    """Every pair that is not a reserved word is a filter `column=[not.]operator.value`."""
    parts, values = [], []
    for name, text in pairs:
        if name in _RESERVED:
            continue
        negated = text.startswith("not.")
        operator, found, value = text.removeprefix("not.").partition(".")
        if not found:
            raise Bad(f'"failed to parse filter ({text})" (line 1, column 1)')
        column = _identifier(name)
        if operator in _COMPARE:
            if operator in ("like", "ilike"):
                value = value.replace("*", "%")
            part = sql.SQL("{}::text {} %s" if "like" in operator else "{} {} %s").format(
                column, sql.SQL(_COMPARE[operator])
            )
            values.append(value)
        elif operator == "is" and value in ("null", "true", "false"):
            part = sql.SQL("{} is {}").format(column, sql.SQL(value))
        elif operator == "in" and value.startswith("(") and value.endswith(")"):
            items = [item.strip().strip('"') for item in value[1:-1].split(",")]
            part = sql.SQL("{} in ({})").format(column, sql.SQL(", ").join([sql.Placeholder()] * len(items)))
            values += items
        else:
            raise Bad(f'"failed to parse filter ({text})" (line 1, column 1)')
        parts.append(sql.SQL("not ({})").format(part) if negated else part)
    if not parts:
        return sql.SQL(""), []
    return sql.SQL(" where ") + sql.SQL(" and ").join(parts), values


def order(text):
    if not text:
        return sql.SQL("")
    parts = []
    for item in text.split(","):
        name, *words = item.split(".")
        part = _identifier(name)
        for word in words:
            extra = {"asc": " asc", "desc": " desc", "nullsfirst": " nulls first", "nullslast": " nulls last"}.get(word)
            if extra is None:
                raise Bad(f"unexpected order {word!r}")
            part = part + sql.SQL(extra)
        parts.append(part)
    return sql.SQL(" order by ") + sql.SQL(", ").join(parts)


def window(query, max_rows):
    """LIMIT and OFFSET; the server's own maximum always applies."""
    numbers = {}
    for name in ("limit", "offset"):
        text = query.get(name)
        if text is not None and not text.isdigit():
            raise Bad(f"{name}: expected a whole number")
        numbers[name] = int(text) if text is not None else None
    limit = min(max_rows, numbers["limit"]) if numbers["limit"] is not None else max_rows
    return sql.SQL(" limit {} offset {}").format(sql.Literal(limit), sql.Literal(numbers["offset"] or 0))
