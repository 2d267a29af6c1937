"""SQLite under services that were written for databases in which a transaction that reads may write later.

SQLite refuses that at once (`database is locked`, whatever the time that it may wait) when another transaction wrote
in between, and a message of Nova's that meets it is lost: its server stays in BUILD for ever. So a transaction that
the service calls a writer's asks for the lock when it begins (https://www.sqlite.org/lang_transaction.html), and
waits its turn; a reader's does not.
"""

from __future__ import annotations

from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import Connection, Engine, event

WRITES = "writes"


def begin(connection: Connection) -> None:
    """Before oslo.db's own listener, which begins where nothing has begun yet."""
    if connection.get_execution_options().get(WRITES) and "in_transaction" not in connection.info:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.info["in_transaction"] = True


def install() -> None:
    """In this process, before the service opens its database."""
    factory = enginefacade._TransactionFactory
    new_session, new_connection = factory._create_session, factory._create_connection

    def session(self: object, mode: object, bind: object = None) -> object:
        made = new_session(self, mode, bind)
        if mode is enginefacade._WRITER and bind is None:
            made.bind = made.bind.execution_options(**{WRITES: True})
        return made

    def connection(self: object, mode: object) -> object:
        made = new_connection(self, mode)
        return made.execution_options(**{WRITES: True}) if mode is enginefacade._WRITER else made

    factory._create_session, factory._create_connection = session, connection
    event.listen(Engine, "begin", begin)


install()
