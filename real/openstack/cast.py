"""Publish detach_volume to compute.HOST with oslo.messaging, as nova-api does.

usage: cast.py --host HOST --request req-UUID < JSON of seed.py

First, as nova-api does, os-begin_detaching at cinder and the instance_actions row.
"""

import argparse
import datetime
import json
import os
import sys

import oslo_messaging
import seed
import sqlalchemy
from oslo_config import cfg

ARGS = argparse.ArgumentParser()
ARGS.add_argument("--host", required=True)
ARGS.add_argument("--request", required=True)


def main():
    args, about = ARGS.parse_args(), json.load(sys.stdin)
    cinder = f"{os.environ['CASTOFF_CINDER']}/v3/volumes/{about['volume']}/action"
    seed.call("POST", cinder, {"os-begin_detaching": None}, about["token"])
    now = datetime.datetime.utcnow()
    row = dict(
        created_at=now, updated_at=now, start_time=now, deleted=0, action="detach_volume", request_id=args.request,
        instance_uuid=about["server"], user_id=about["user"], project_id=about["project"],
    )
    from nova.db.main import models

    engine = sqlalchemy.create_engine(os.environ["CASTOFF_DATABASE"])
    with engine.begin() as db:
        db.execute(models.InstanceAction.__table__.insert().values(**row))
    conf = cfg.CONF
    conf([], project="castoff", default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(conf, url=os.environ["CASTOFF_TRANSPORT"])
    conf.set_override("control_exchange", "nova")
    target = oslo_messaging.Target(exchange="nova", topic="compute", server=args.host, version="6.0")
    client = oslo_messaging.get_rpc_client(transport, target)
    context = {
        "request_id": args.request, "auth_token": about["token"], "user_id": about["user"],
        "project_id": about["project"], "is_admin": False, "roles": ["member", "reader"],
    }
    instance = {
        "nova_object.name": "Instance", "nova_object.namespace": "nova", "nova_object.version": "2.8",
        "nova_object.data": {"uuid": about["server"], "host": args.host},
    }
    client.cast(
        context, "detach_volume", instance=instance, volume_id=about["volume"], attachment_id=about["attachment"]
    )
    transport.cleanup()
    print(f"cast {args.request}", file=sys.stderr)


if __name__ == "__main__":
    main()
