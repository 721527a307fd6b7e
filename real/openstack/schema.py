"""Compare the tables of a file of CREATE TABLE with Nova's own models on SQLite. usage: schema.py FILE"""

import sqlite3
import sys

import sqlalchemy
from nova.db.main import models


def columns(connection, table):
    return [(c[1], c[2], bool(c[3]) and not c[5]) for c in connection.execute(f"PRAGMA table_info({table})")]


def main():
    ours = sqlite3.connect(":memory:")
    ours.executescript(open(sys.argv[1]).read())
    engine = sqlalchemy.create_engine("sqlite://")
    models.BASE.metadata.create_all(engine)
    theirs = engine.raw_connection()
    differ = 0
    tables = [row[0] for row in ours.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    for table in tables:
        if columns(ours, table) != columns(theirs, table):
            differ += 1
            print(f"FAIL {table}")
            for one, other in zip(columns(ours, table), columns(theirs, table)):
                if one != other:
                    print(f"       ours {one}, nova's {other}")
    print(f"{len(tables) - differ} of {len(tables)} tables are nova's")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
