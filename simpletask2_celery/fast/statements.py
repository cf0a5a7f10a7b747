"""The statements of a row's life, compiled once a model.

The claim updates a row and loads it by one query, where the database has UPDATE … RETURNING.
Each later write of a run is an UPDATE behind its fence. A page of keys is one parameter.
"""

import datetime
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

from django.db import connections, models, router, transaction
from django.db.models.signals import post_save, pre_save

#: Most values are of these types, which are parameters.
_PLAIN = frozenset({type(None), bool, int, float, str, datetime.datetime})

#: On PostgreSQL these fields pass such values through unchanged.
_UNCHANGED: dict[type, type] = {
    models.AutoField: int,
    models.BigAutoField: int,
    models.BigIntegerField: int,
    models.BooleanField: bool,
    models.CharField: str,
    models.DateTimeField: datetime.datetime,
    models.IntegerField: int,
    models.TextField: str,
}


def claim_of(
    model: Any,
    using: str,
    where: dict[str, Any],
    values: dict[str, Any],
    not_after: dict[str, datetime.datetime],
    token: str,
) -> Callable[[], Any] | None:
    """Return a function that sets ``values`` on the row that ``where`` names, and loads it.

    All are {field name: value}; the columns of ``not_after`` may also be empty. Of the written
    columns only expressions are read again, and the ``token``, which a column may round. The
    function returns None where there is no such row, or, in a transaction, a locked one. Outside
    of one it raises an OperationalError, lock_not_available, for a row locked for 200 ms.
    """
    is_postgresql = connections[using].vendor == "postgresql"
    if not is_postgresql or model._meta.parents or not _is_plain(model):
        return None
    plain = {name: value for name, value in values.items() if _are_plain([value])}
    computed = {name: value for name, value in values.items() if name not in plain}
    known = tuple([name for name in plain if name != token])

    def claim() -> Any:
        connection = connections[using]
        lock = _SKIPPED if connection.in_atomic_block else _LIMITED
        columns, parameters = _assignments(model, using, plain, computed)
        statement = _update(model, using, columns, tuple(where), tuple(not_after), lock)
        returned, read, converters, names = _returned(model, using, known)
        with transaction.mark_for_rollback_on_error(using), connection.cursor() as cursor:
            parameters += _parameters(model, using, (), where | not_after)
            cursor.execute(f"{statement} RETURNING {returned}", parameters)
            answer = cursor.fetchone()
        if answer is None:
            return None
        row = plain | dict(zip(read, _converted(answer, converters, connection), strict=True))
        return model.from_db(using, names, [row[name] for name in names])

    return claim


def update_of(row: Any, fence: Any, base: type) -> Callable[[], list[Any] | None] | None:
    """Return a function that saves the fields of its row that a run has changed.

    It returns these fields, or None where the fence has refused. ``base`` is the class whose
    ``save`` and ``_do_update`` are the library's own.
    """
    model: Any = type(row)
    if not _saves_plainly(row, fence, base):
        return None
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    changed = [(field, None, field.pre_save(row, False)) for field in fields]
    token = _field(model, "start_time")
    # Never an UPDATE without columns: it has to ask whether the claim is held.
    values = fence.keep(changed) or [(token, None, fence.token)]
    pairs = [(field, value) for field, _, value in values]
    where = fence.where()
    parameters = _parameters(model, fence.using, pairs, where)
    if not _are_plain([value for _, value in pairs]) or not _are_plain(parameters):
        return None
    written = [field for field, _ in pairs]
    columns = tuple([(field.column, "%s") for field in written])

    def update() -> list[Any] | None:
        statement = _update(model, fence.using, columns, tuple(where))
        with connections[fence.using].cursor() as cursor:
            cursor.execute(statement, parameters)
            return written if cursor.rowcount > 0 else None

    return update


def keys_of(model: Any, using: str, keys: list[Any]) -> models.Q | None:
    """Return the condition that a row's key is one of ``keys``, with one array as parameter."""
    # A thousand parameters would cost the driver as much as the rows.
    connection, key = connections[using], model._meta.pk
    if connection.vendor != "postgresql" or len(model._meta.pk_fields) > 1:
        return None
    values = [key.get_db_prep_value(one, connection) for one in keys]
    any_of = {"template": "%(expressions)s)", "arg_joiner": " = ANY("}
    array, answer = models.Value(values, models.Field()), models.BooleanField()
    return models.Q(models.Func(models.F("pk"), array, output_field=answer, **any_of))


# -- the reasons to decline ----------------------------------------------------------------


def _saves_plainly(row: Any, fence: Any, base: Any) -> bool:
    """Tell whether a save of the row runs no code of the user's, as of this moment."""
    model: Any = type(row)
    return (
        _is_plain(model)
        and _is_one_plain_table(model)
        and saves_as_django_does(model, base)
        and not row._state.fields_cache  # related objects, which save() looks at
        and not pre_save.has_listeners(model)
        and not post_save.has_listeners(model)
        and not row.get_deferred_fields()
        and fence.token is not None
        and router.db_for_write(model, instance=row) == fence.using
        and _are_plain(vars(row).values())
    )


def saves_as_django_does(model: Any, base: Any) -> bool:
    """Tell whether the methods of a save are the library's and Django's own."""
    django: Any = models.Model
    after: Any = super(base, model)  # where a mixin may stand, too
    return bool(
        model.save is base.save
        and after.save is django.save
        and model.save_base is django.save_base
        and model._save_table is django._save_table
        and model._do_update is base._do_update
        and after._do_update is django._do_update
    )


def _are_plain(values: Iterable[Any]) -> bool:
    """Tell whether each value is a parameter, and no expression that becomes SQL."""
    for value in values:
        if type(value) not in _PLAIN and (
            hasattr(value, "resolve_expression")
            or hasattr(value, "prepare_database_save")
            or hasattr(value, "as_sql")
        ):
            return False
    return True


@cache
def _is_plain(model: Any) -> bool:
    """Tell whether a row is found by one column, and by no manager of the user's."""
    return len(model._meta.pk_fields) == 1 and type(model._base_manager) is models.Manager


@cache
def _is_one_plain_table(model: Any) -> bool:
    """Tell whether a statement has "%s" for each column of the model, as none of a geometry."""
    meta = model._meta
    return not (meta.parents or meta.proxy) and not any(
        field.generated
        or hasattr(field, "get_placeholder")
        or hasattr(field, "get_placeholder_sql")
        for field in meta.concrete_fields
    )


# -- SQL -------------------------------------------------------------------------------------

#: What an UPDATE does about a locked row; with _LIMITED it waits 200 ms.
_WAITED, _SKIPPED, _LIMITED = "waited", "skipped", "limited"


def _parameters(
    model: Any, using: str, pairs: Iterable[tuple[Any, Any]], where: dict[str, Any]
) -> list[Any]:
    connection = connections[using]
    unchanged = _UNCHANGED if connection.vendor == "postgresql" else {}
    conditions = [(_field(model, name), value) for name, value in where.items()]
    return [
        value
        if type(value) is unchanged.get(type(field), ...)
        and getattr(value, "tzinfo", ...) is not None  # or the field gives it a zone
        else field.get_db_prep_save(value, connection)
        for field, value in (*pairs, *conditions)
    ]


def _converted(answer: Any, converters: Any, connection: Any) -> list[Any]:
    """Return a row's values as its fields have them."""
    values = list(answer)
    for position, (convert_all, expression) in converters.items():
        for convert in convert_all:
            values[position] = convert(values[position], expression, connection)
    return values


def _assignments(
    model: Any, using: str, plain: dict[str, Any], computed: dict[str, Any]
) -> tuple[tuple[tuple[str, str], ...], list[Any]]:
    """Return each column with the SQL of its value, and the parameters of them all."""
    pairs = [(_field(model, name), value) for name, value in plain.items()]
    columns = [(field.column, "%s") for field, _ in pairs]
    parameters = _parameters(model, using, pairs, {})
    for name, value in computed.items():
        text, own = _compiled(model, using, value)
        columns.append((_field(model, name).column, text))
        parameters += own
    return tuple(columns), parameters


def _compiled(model: Any, using: str, value: Any) -> tuple[str, Any]:
    """Return an expression in SQL; one that is used again keeps it."""
    kept = vars(value).setdefault("_simpletask2_sql", {})
    if (model, using) not in kept:
        query = model._base_manager.using(using).query
        expression = value.resolve_expression(query)
        kept[model, using] = query.get_compiler(using).compile(expression)
    compiled: tuple[str, Any] = kept[model, using]
    return compiled


@lru_cache(maxsize=1000)
def _update(
    model: Any,
    using: str,
    columns: tuple[tuple[str, str], ...],
    where: tuple[str, ...],
    not_after: tuple[str, ...] = (),
    lock: str = _WAITED,
) -> str:
    """Return an UPDATE; only PostgreSQL's can skip a locked row, or wait 200 ms."""
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(column)} = {value}" for column, value in columns)
    conditions = [f"{quote(_field(model, name).column)} = %s" for name in where]
    for name in not_after:
        column = quote(_field(model, name).column)
        conditions.append(f"({column} IS NULL OR {column} <= %s)")
    table, condition = quote(model._meta.db_table), " AND ".join(conditions)
    if lock == _LIMITED:  # for this statement: it is a transaction of its own
        condition += " AND set_config('lock_timeout', '200', true) IS NOT NULL"
    elif lock == _SKIPPED:
        key = quote(_field(model, "pk").column)
        unlocked = f"SELECT {key} FROM {table} WHERE {condition}"
        condition = f"{key} = ({unlocked} FOR NO KEY UPDATE SKIP LOCKED)"
    return f"UPDATE {table} SET {values} WHERE {condition}"


@cache
def _returned(
    model: Any, using: str, known: tuple[str, ...]
) -> tuple[str, list[str], Any, list[str]]:
    """Return the columns to read, in SQL; their names; their converters; all names."""
    fields = [field for field in model._meta.concrete_fields if field.name not in known]
    compiler = model._base_manager.using(using).query.get_compiler(using)

    def select(field: Any) -> str:
        return str(field.select_format(compiler, *compiler.compile(field.cached_col))[0])

    converters = compiler.get_converters([field.cached_col for field in fields])
    names = [field.attname for field in model._meta.concrete_fields]
    return ", ".join(map(select, fields)), [field.attname for field in fields], converters, names


@cache
def _field(model: Any, name: str) -> Any:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)
