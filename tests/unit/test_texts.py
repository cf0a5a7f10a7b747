"""Errors and texts, in two languages."""

import io
import pickle
from pathlib import Path

from django.utils import translation
from django.utils.translation.template import templatize

from simpletask2_celery import exceptions
from tests.support.project.jobs.models import Job

LOCALE = Path(exceptions.__file__).parent / "locale/zh_Hans/LC_MESSAGES"


def test_seventeen_codes_in_two_languages():
    assert sorted(exceptions.MESSAGES) == list(range(2910000, 2910017))
    for code, message in exceptions.MESSAGES.items():
        english = str(message)
        with translation.override("zh-hans"):
            chinese = str(message)
        assert chinese != english, code
        assert not chinese.isascii(), code


def test_an_error_pickles():
    error = exceptions.error(exceptions.CLAIMED, task_info="jobs.job:1")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message) == (2910013, error.message)
    assert str(copy) == "2910013: task jobs.job:1 locked by another worker."
    lost = pickle.loads(pickle.dumps(exceptions.claim_lost("jobs.job:1")))
    assert isinstance(lost, exceptions.ClaimLost) and lost.code == 2910014


def test_the_catalogue_is_complete_and_compiled():
    from babel.messages.extract import extract_from_dir
    from babel.messages.mofile import read_mo
    from babel.messages.pofile import read_po

    with (LOCALE / "django.po").open("rb") as source:
        written = texts_of(read_po(source))
    with (LOCALE / "django.mo").open("rb") as compiled:
        assert texts_of(read_mo(compiled)) == written
    assert all(all(strings) for strings in written.values())
    keywords = {"_": None, "translate": None, "gettext_noop": None}
    keywords |= dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2))
    folder = LOCALE.parents[2]
    used = {found[2] for found in extract_from_dir(folder, keywords=keywords)}
    for path in folder.rglob("*.html"):
        used |= texts_of_template(path.read_text())
    assert used == set(written)


def texts_of(catalogue):
    """Return {text, or pair of singular and plural: its translations}."""

    def several(value):
        return (value,) if isinstance(value, str) else tuple(value)

    return {
        m.id if isinstance(m.id, str) else tuple(m.id): several(m.string) for m in catalogue if m.id
    }


def texts_of_template(source):
    """Return what Django's tags translate; it makes Python of a template's words."""
    from babel.messages.extract import extract

    python = io.BytesIO(templatize(source).encode())
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    return {found[1] for found in extract("python", python, keywords=keywords)}


def test_field_names_in_chinese():
    with translation.override("zh-hans"):
        assert str(Job._meta.get_field("status").verbose_name) == "状态"
        assert dict(Job.STATUS)[10] == "就绪"
