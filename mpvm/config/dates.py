"""Dates as QEMU's -rtc base= has them."""

import calendar
import datetime


def unix_seconds(text: str) -> int:
    """The Unix time of `text`, 2006-06-17T16:01:21 or 2006-06-17, in UTC; `ValueError` for no such date."""
    date, _, clock = text.partition("T")
    fields = [int(part) for part in date.split("-")] + [int(part) for part in clock.split(":") if part]
    return calendar.timegm(datetime.datetime(*fields).timetuple())  # type: ignore[arg-type]
