"""Neutron's tables in an SQLite file: `neutron_tables.py URL`. Its migrations need another database."""

from __future__ import annotations

import sys

import sqlalchemy
from neutron.db.migration.models import head

head.get_metadata().create_all(sqlalchemy.create_engine(sys.argv[1]))
