"""The schema is the original's."""

from simpletask2_celery.models import SimpleTask


def test_the_columns_are_the_originals():
    fields = {field.name: field for field in SimpleTask._meta.local_fields}
    assert (
        list(fields)
        == (
            "add_time mod_time status start_time current_step step1_time step2_time "
            "step3_time done_time success auto_reset_time"
        ).split()
    )
    assert SimpleTask._meta.abstract
