"""What a detach must have left: cinder's volume, nova's rows. Reads the JSON of seed.py; exit code 1 when something is not so.

usage: check.py [--rolled-back] < JSON of seed.py
"""

import json
import os
import sys

import seed
import sqlalchemy


def main():
    back, about = "--rolled-back" in sys.argv, json.load(sys.stdin)
    token, _ = seed.token_of("demo", "demo")
    volume = seed.call("GET", f"{os.environ['CASTOFF_CINDER']}/v3/volumes/{about['volume']}", token=token)[1]["volume"]
    engine = sqlalchemy.create_engine(os.environ["CASTOFF_DATABASE"])
    with engine.begin() as db:
        rows = lambda text: db.execute(sqlalchemy.text(text), about).all()  # noqa: E731
        bdms = rows("SELECT id, deleted, deleted_at FROM block_device_mapping WHERE volume_id = :volume")
        events = rows(
            "SELECT e.event, e.result, e.host FROM instance_actions_events e JOIN instance_actions a "
            "ON e.action_id = a.id WHERE a.instance_uuid = :server"
        )
    expected = [
        ("the volume is " + ("in-use" if back else "available"), volume["status"] == ("in-use" if back else "available"),
         volume["status"]),
        ("cinder's attachments", len(volume["attachments"]) == int(back), len(volume["attachments"])),
        ("the BDM is " + ("kept" if back else "deleted, by its id"),
         len(bdms) == 1 and all((r[1] == 0) if back else (r[1] == r[0] and r[2] is not None) for r in bdms), [tuple(map(str, r)) for r in bdms]),
        ("the action's event is " + ("Error" if back else "Success"),
         [r[:2] for r in map(tuple, events)] == [("compute_detach_volume", "Error" if back else "Success")],
         [tuple(r) for r in events]),
    ]
    for what, holds, found in expected:
        print(f"{'ok  ' if holds else 'FAIL'} {what}: {found}")
    sys.exit(0 if all(holds for _, holds, _ in expected) else 1)


if __name__ == "__main__":
    main()
