"""SQLite's `database is locked` is what other databases call a deadlock: the services then try again by themselves."""

from __future__ import annotations

from oslo_db import exception
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc


@exc_filters.filters("sqlite", exc.OperationalError, r".*database is locked.*")
def locked(error: Exception, _match: object, _engine: str, _is_disconnect: bool) -> None:
    raise exception.DBDeadlock(error)
