import pytest

from marsys_core.errors import ModelErrorKind
from marsys_core.models import kind_of_status, wait_of


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelErrorKind.BAD_REQUEST), (401, ModelErrorKind.AUTHENTICATION), (402, ModelErrorKind.QUOTA),
        (403, ModelErrorKind.PERMISSION), (404, ModelErrorKind.NOT_FOUND), (408, ModelErrorKind.TIMEOUT),
        (418, ModelErrorKind.BAD_REQUEST), (429, ModelErrorKind.RATE_LIMIT), (500, ModelErrorKind.OVERLOADED),
        (503, ModelErrorKind.OVERLOADED), (504, ModelErrorKind.TIMEOUT), (529, ModelErrorKind.OVERLOADED),
        (200, ModelErrorKind.MALFORMED), (302, ModelErrorKind.MALFORMED),
    ],
)  # fmt: skip
def test_a_status_stands_for_a_kind_of_error(status, kind):
    assert kind_of_status(status) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 39.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_is_a_number_or_a_date(headers, seconds):
    now = 946684760.0  # 1999-12-31 23:59:20

    assert wait_of(headers, now) == seconds
