"""The statements of a row's life, made once: what Django would compile each time.

The INSERT of a new row; the claim, which updates a row and loads it in one query where the
database has UPDATE … RETURNING; and each later write, an UPDATE behind the fence.
"""

import datetime
import decimal
import uuid
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from django.db import connections, models, transaction

#: What an UPDATE does about a locked row.
WAITED_FOR, SKIPPED, LIMITED = "waited for", "skipped", "limited"

#: Types of values that are what they seem: all others are asked.
PLAIN = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        str,
        bytes,
        decimal.Decimal,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        uuid.UUID,
    }
)

#: What fields of PostgreSQL make of such values: nothing. (Of a time without a zone,
#: whatever the settings say.)
_AS_THEY_ARE: dict[type, type] = {
    models.AutoField: int,
    models.BigAutoField: int,
    models.BigIntegerField: int,
    models.BooleanField: bool,
    models.CharField: str,
    models.DateTimeField: datetime.datetime,
    models.IntegerField: int,
    models.TextField: str,
}


def can_return(model: type[models.Model], using: str) -> bool:
    """Tell whether a row of the model can be updated and loaded at once."""
    meta = model._meta
    return (
        connections[using].vendor == "postgresql"
        and not meta.parents  # whose columns are in another table
        and _is_plain(model)
    )


def update_and_load(
    model: type[models.Model],
    using: str,
    where: dict[str, Any],
    values: dict[str, Any],
    token: str,
) -> Any:
    """Set ``values`` on the row of which ``where`` is true; return it, or None.

    Both are {field name: value}; a condition is that the values are equal. Of what is
    written only the ``token`` is read again: a column may round it. Where a transaction of
    somebody else's has locked the row, nobody waits for that: None inside a transaction,
    else an OperationalError that says lock_not_available after 200 ms.
    """
    connection = connections[using]
    fields = [_field(model, name) for name in values]
    lock = SKIPPED if connection.in_atomic_block else LIMITED
    statement = _update(model, using, _columns(fields), tuple(where), lock)
    columns, read, converters = _returned(model, using, tuple(values), token)
    pairs = zip(fields, values.values(), strict=True)
    with transaction.mark_for_rollback_on_error(using), connection.cursor() as cursor:
        parameters = _parameters(model, using, pairs, where)
        cursor.execute(f"{statement} RETURNING {columns}", parameters)
        found = cursor.fetchone()
    if found is None:
        return None
    row = {**values, **dict(zip(read, found, strict=True))}
    for position, (convert_all, expression) in converters.items():
        for convert in convert_all:
            row[read[position]] = convert(row[read[position]], expression, connection)
    names = _names(model)
    return model.from_db(using, names, [row[name] for name in names])


def can_update(model: type[models.Model], values: Iterable[Any]) -> bool:
    """Tell whether a row with such values is likely to be written by :func:`update`."""
    return _is_plain(model) and not _odd_columns(model) and _are_plain(values)


def update(
    model: type[models.Model], using: str, where: dict[str, Any], values: list[Any]
) -> bool | None:
    """Write ``values``, Django's triples of a save, if ``where`` is true of the row.

    None where Django has to do it: for an expression, a geometry and the like.
    """
    pairs = [(field, value) for field, _, value in values]
    columns = _columns([field for field, _ in pairs])
    plain = _is_plain(model) and _odd_columns(model).isdisjoint(columns)
    if not plain or not _are_plain([value for _, value in pairs]):
        return None
    parameters = _parameters(model, using, pairs, where)
    if not _are_plain(parameters):
        return None
    with connections[using].cursor() as cursor:
        cursor.execute(_update(model, using, columns, tuple(where)), parameters)
        return bool(cursor.rowcount > 0)


def insert(row: models.Model, using: str, fields: list[Any], returning: list[Any]) -> Any:
    """Insert a row and return the value of its automatic primary key.

    None where Django has to do it: for a key that is given, another column that the
    database fills, an expression and the like.
    """
    model, key = type(row), row._meta.pk
    if not can_return(model, using) or returning != [key] or key in fields:
        return None
    columns = _columns(fields)
    if not _odd_columns(model).isdisjoint(columns) or key.get_db_converters(
        connections[using]
    ):
        return None
    if not _are_plain(row.__dict__.get(field.attname) for field in fields):
        return None
    pairs = ((field, field.pre_save(row, True)) for field in fields)
    parameters = _parameters(model, using, pairs, {})
    if not _are_plain(parameters):
        return None
    empty = tuple(one is None for one in parameters)  # most are: NULL needs no parameter
    with connections[using].cursor() as cursor:
        statement = _insert(model, using, columns, empty)
        cursor.execute(statement, [one for one in parameters if one is not None])
        return cursor.fetchone()[0]


def has_key(model: type[models.Model], using: str, keys: list[Any]) -> models.Q:
    """Return the condition that a row's key is one of many.

    One parameter where the database has arrays: a thousand cost as much as the rows.
    """
    connection, key = connections[using], model._meta.pk
    if connection.vendor != "postgresql" or len(model._meta.pk_fields) > 1:
        return models.Q(pk__in=keys)
    values = [key.get_db_prep_value(one, connection) for one in keys]
    array = models.Value(values, models.Field())
    is_one = models.Func(
        models.F("pk"),
        array,
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=models.BooleanField(),
    )
    return models.Q(is_one)


def _are_plain(values: Iterable[Any]) -> bool:
    """Tell whether each value is a parameter of its own, as "%s" has it."""
    for value in values:
        if type(value) not in PLAIN and (
            hasattr(value, "resolve_expression")
            or hasattr(value, "prepare_database_save")
            or hasattr(value, "as_sql")
        ):
            return False
    return True


def _columns(fields: Iterable[Any]) -> tuple[str, ...]:
    return tuple([field.column for field in fields])


@cache
def _odd_columns(model: type[models.Model]) -> frozenset[str]:
    """Return the columns whose fields, as those of a geometry, write their "%s"."""
    return frozenset(
        str(field.column)
        for field in model._meta.concrete_fields
        if hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")
    )


@cache
def _is_plain(model: type[models.Model]) -> bool:
    """Tell whether a row is found by one column, and by no manager of the user's."""
    return len(model._meta.pk_fields) == 1 and type(model._base_manager) is models.Manager


def _parameters(
    model: type[models.Model],
    using: str,
    pairs: Iterable[tuple[Any, Any]],
    where: dict[str, Any],
) -> list[Any]:
    connection = connections[using]
    as_they_are = _AS_THEY_ARE if connection.vendor == "postgresql" else {}
    conditions = [(_field(model, name), value) for name, value in where.items()]
    return [
        value
        if type(value) is as_they_are.get(type(field), ...)
        and getattr(value, "tzinfo", ...) is not None
        else field.get_db_prep_save(value, connection)
        for field, value in (*pairs, *conditions)
    ]


@lru_cache(maxsize=1000)
def _update(
    model: type[models.Model],
    using: str,
    columns: tuple[str, ...],
    where: tuple[str, ...],
    lock: str = WAITED_FOR,
) -> str:
    """Return an UPDATE; PostgreSQL's may skip a locked row, or wait for it 200 ms."""
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(column)} = %s" for column in columns)
    conditions = (f"{quote(_field(model, name).column)} = %s" for name in where)
    table, condition = quote(model._meta.db_table), " AND ".join(conditions)
    if lock == LIMITED:  # for this statement: it is a transaction of its own
        condition += " AND set_config('lock_timeout', '200', true) IS NOT NULL"
    elif lock == SKIPPED:
        key = quote(_field(model, "pk").column)
        unlocked = f"SELECT {key} FROM {table} WHERE {condition}"
        condition = f"{key} = ({unlocked} FOR NO KEY UPDATE SKIP LOCKED)"
    return f"UPDATE {table} SET {values} WHERE {condition}"


@lru_cache(maxsize=1000)
def _insert(
    model: type[models.Model],
    using: str,
    columns: tuple[str, ...],
    empty: tuple[bool, ...],
) -> str:
    quote = connections[using].ops.quote_name
    names = ", ".join(map(quote, columns))
    values = ", ".join("NULL" if is_empty else "%s" for is_empty in empty)
    table, key = quote(model._meta.db_table), quote(_field(model, "pk").column)
    return f"INSERT INTO {table} ({names}) VALUES ({values}) RETURNING {key}"


@cache
def _returned(
    model: type[models.Model], using: str, written: tuple[str, ...], token: str
) -> tuple[str, list[str], Any]:
    """Return the columns to read, in SQL; their names; and what converts their values."""
    known = {*written} - {token}
    fields = [field for field in model._meta.concrete_fields if field.name not in known]
    compiler = model._base_manager.using(using).query.get_compiler(using)

    def shown(field: Any) -> str:
        return str(field.select_format(compiler, *compiler.compile(field.cached_col))[0])

    converters = compiler.get_converters([field.cached_col for field in fields])
    columns = ", ".join(map(shown, fields))
    return columns, [field.attname for field in fields], converters


@cache
def _names(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _field(model: type[models.Model], name: str) -> Any:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)
