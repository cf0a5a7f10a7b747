"""The statements of a row's life, compiled once a model.

The claim, which updates a row and loads it in one query where the database has
UPDATE … RETURNING; each later write of a run, an UPDATE behind its fence; and the condition
that a row is one of a thousand.
"""

import datetime
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

from django.db import connections, models, router, transaction
from django.db.models.signals import post_save, pre_save

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
    model: Any, using: str, where: dict[str, Any], values: dict[str, Any], token: str
) -> Callable[[], Any] | None:
    """Return what sets ``values`` on the row of which ``where`` is true, and loads it.

    Both are {field name: value}. Of what is written only the ``token`` is read again, because
    a column may round it. Without such a row the function returns None. It waits for nobody's
    lock: a locked row is None inside a transaction, else an OperationalError that says
    lock_not_available after 200 ms.
    """
    if not _can_return(model, using):
        return None
    fields = [_field(model, name) for name in values]

    def claim() -> Any:
        connection = connections[using]
        lock = _SKIPPED if connection.in_atomic_block else _LIMITED
        statement = _update(model, using, _columns(fields), tuple(where), lock)
        columns, read, converters = _returned(model, using, tuple(values), token)
        pairs = zip(fields, values.values(), strict=True)
        with transaction.mark_for_rollback_on_error(using), connection.cursor() as cursor:
            parameters = _parameters(model, using, pairs, where)
            cursor.execute(f"{statement} RETURNING {columns}", parameters)
            answer = cursor.fetchone()
        if answer is None:
            return None
        row = {**values, **dict(zip(read, answer, strict=True))}
        for position, (convert_all, expression) in converters.items():
            for convert in convert_all:
                row[read[position]] = convert(row[read[position]], expression, connection)
        names = _names(model)
        return model.from_db(using, names, [row[name] for name in names])

    return claim


def update_of(row: Any, fence: Any, base: type) -> Callable[[], list[Any] | None] | None:
    """Return what saves what a run has changed of its row.

    The function returns the fields that it wrote, None where the fence has refused. ``base``
    is the class whose ``save`` and ``_do_update`` are the library's own.
    """
    model: Any = type(row)
    if not _saves_plainly(row, fence, base):
        return None
    changed = [
        (field, None, getattr(row, name) if is_plain else field.pre_save(row, False))
        for name, field, is_plain in _own_fields(model)
    ]
    token = _field(model, "start_time")
    # Never an UPDATE without columns: it has to ask whether the claim is held.
    values = fence.keep(changed) or [(token, None, fence.token)]
    pairs = [(field, value) for field, _, value in values]
    where = fence.where()
    parameters = _parameters(model, fence.using, pairs, where)
    if not _are_plain([value for _, value in pairs]) or not _are_plain(parameters):
        return None
    written = [field for field, _ in pairs]

    def update() -> list[Any] | None:
        statement = _update(model, fence.using, _columns(written), tuple(where))
        with connections[fence.using].cursor() as cursor:
            cursor.execute(statement, parameters)
            return written if cursor.rowcount > 0 else None

    return update


def keys_of(model: Any, using: str, keys: list[Any]) -> models.Q | None:
    """Return the condition that a row's key is one of many, as one parameter: an array.

    A thousand parameters cost the driver as much as the rows.
    """
    connection, key = connections[using], model._meta.pk
    if connection.vendor != "postgresql" or len(model._meta.pk_fields) > 1:
        return None
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


# -- the reasons to decline ----------------------------------------------------------------


def _saves_plainly(row: Any, fence: Any, base: Any) -> bool:
    """Tell whether a save of the row runs no code of the user's, as of this moment."""
    model: Any = type(row)
    return (
        _is_one_table(model)
        and _is_plain(model)
        and not _odd_columns(model)
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


def _can_return(model: type[models.Model], using: str) -> bool:
    """Tell whether one statement can write a row of the model and return its columns."""
    is_one_table = not model._meta.parents
    return connections[using].vendor == "postgresql" and is_one_table and _is_plain(model)


def _are_plain(values: Iterable[Any]) -> bool:
    """Tell whether each value is a parameter of its own, as "%s" has it."""
    for value in values:
        if (
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
def _is_one_table(model: Any) -> bool:
    meta = model._meta
    computed = any(field.generated for field in meta.concrete_fields)
    return not (meta.parents or meta.proxy or computed)


@cache
def _odd_columns(model: Any) -> frozenset[str]:
    """Return the columns whose fields, as those of a geometry, write their "%s"."""
    return frozenset(
        str(field.column)
        for field in model._meta.concrete_fields
        if hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")
    )


# -- SQL -------------------------------------------------------------------------------------

#: What an UPDATE does about a locked row.
_WAITED_FOR, _SKIPPED, _LIMITED = "waited for", "skipped", "limited"


def _columns(fields: Iterable[Any]) -> tuple[str, ...]:
    return tuple([field.column for field in fields])


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


@lru_cache(maxsize=1000)
def _update(
    model: Any,
    using: str,
    columns: tuple[str, ...],
    where: tuple[str, ...],
    lock: str = _WAITED_FOR,
) -> str:
    """Return an UPDATE; PostgreSQL's may skip a locked row, or wait for it 200 ms."""
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(column)} = %s" for column in columns)
    conditions = (f"{quote(_field(model, name).column)} = %s" for name in where)
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
    model: Any, using: str, written: tuple[str, ...], token: str
) -> tuple[str, list[str], Any]:
    """Return the columns to read, in SQL; their names; and what converts their values."""
    known = {*written} - {token}
    fields = [field for field in model._meta.concrete_fields if field.name not in known]
    compiler = model._base_manager.using(using).query.get_compiler(using)

    def select(field: Any) -> str:
        return str(field.select_format(compiler, *compiler.compile(field.cached_col))[0])

    converters = compiler.get_converters([field.cached_col for field in fields])
    return ", ".join(map(select, fields)), [field.attname for field in fields], converters


@cache
def _own_fields(model: Any) -> list[tuple[str, Any, bool]]:
    """Return (attribute, field, whether a save takes it as it is) but for the key."""
    plain = {
        models.Field.pre_save,
        models.DateField.pre_save,
        models.DateTimeField.pre_save,
    }
    return [
        (
            field.attname,
            field,
            type(field).pre_save in plain and not getattr(field, "auto_now", False),
        )
        for field in model._meta.concrete_fields
        if not field.primary_key
    ]


@cache
def _names(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _field(model: Any, name: str) -> Any:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)
